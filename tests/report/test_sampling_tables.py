"""Every outlier of the batches beside its predictions."""

import math

import numpy as np
import pandas as pd
import pytest
from table_cases import NUM_EXAMPLES, NUM_PARAMETERS, make_spectrum

from truehessian.report.tables import sampling, select
from truehessian.theory.predictions import isotropic
from truehessian.theory.predictions.base import Variance
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.predictions.noise import SubspaceNoise
from truehessian.theory.predictions.subspace import subspace


def spectra(epoch=0):
    generator = np.random.default_rng(epoch)
    yield make_spectrum([[-1.0, -0.5, 0.2, 4.0], [-1.2, -0.4, 0.1, 3.9]], epoch=epoch)
    for batch_size in (40, 10):
        scatter = generator.standard_normal((5, 1, 4)) / batch_size
        folds = np.array([-1.2 - 4 / batch_size, -0.5, 1, 4 + 30 / batch_size]) + scatter
        yield make_spectrum(folds, epoch=epoch, num_examples=batch_size, batch_size=batch_size)
    yield make_spectrum([[-1.1, 0.1, 3.8]], epoch=epoch, num_examples=2000, factor=10)
    yield make_spectrum([[-9.0, 0.1, 9.0]], epoch=epoch, split="test", num_examples=77)
    yield make_spectrum([[[-9.0, 9.0]]] * 2, epoch=epoch, operator="noise", batch_size=10)


def variance(epoch=0):
    names = ["random-1", "random-2", "top-1", "top-2", "bottom-1", "bottom-2"]
    frame = pd.DataFrame({"direction": names, "variance": [1.0, 3.0, 60.0, 30.0, 10.0, 9.0]})
    frame["standard_error"] = 0.1 * frame["variance"]
    return frame.assign(
        epoch=epoch, group_size=5, num_examples=NUM_EXAMPLES, num_parameters=NUM_PARAMETERS
    )


@pytest.fixture
def noise():
    projected = np.random.default_rng(0).standard_normal((40, 2, 2))
    return SubspaceNoise(
        np.array([4.0, -1.2]), projected + projected.swapaxes(1, 2), np.eye(2), 5, NUM_EXAMPLES
    )


def overlaps():
    return pd.DataFrame(
        {
            "epoch": 0,
            "batch_size": 10,
            "fold": [0, 1, 0, 1],
            "end": ["largest", "largest", "smallest", "smallest"],
            "direction": ["top-1", "top-1", "bottom-2", "bottom-2"],
            "squared_overlap": [0.8, 0.6, 0.1, 0.3],
        }
    )


def test_every_outlier_of_the_training_batches_meets_its_predictions(noise):
    frame = sampling.outliers(
        [*spectra(3), *spectra(0)],
        pd.concat([variance(0), variance(3)]),
        {0: noise},
        overlaps(),
        ranks=2,
        seed=2,
        resamples=5,
    )
    assert list(frame.columns) == sampling.outlier_columns()
    assert frame[["epoch", "batch_size", "end", "rank"]].values.tolist() == [
        [epoch, size, end, rank]
        for epoch in (0, 3)
        for size in (10, 40)
        for end in ("largest", "smallest")
        for rank in (1, 2)
    ]
    row = frame.iloc[2]  # epoch 0, batch size 10, smallest, rank 1
    factor = finite_population_factor(10, NUM_EXAMPLES)
    assert (row["full"], row["folds"]) == (-1.2, 5)
    assert row["goe"] == isotropic.goe(-1.2, factor, 2.0, "smallest")
    assert row["directional"] == isotropic.directional(-1.2, factor, 10.0, "smallest")
    assert row["weyl"] == isotropic.weyl(-1.2, factor, NUM_PARAMETERS, 2.0, "smallest")
    below, above = (
        isotropic.directional(-1.2, factor, 10.0 + error, "smallest") for error in (1.96, -1.96)
    )
    buried = factor * 10.0 / (1.2**2 + factor * 10.0)
    doubt = 1.96 * isotropic.DIRECTIONAL_DOUBT["smallest"] * (1 + buried)
    doubt *= -1.2 - row["directional"]  # of the shift
    assert row["directional"] - row["directional_low"] == pytest.approx(
        math.hypot(row["directional"] - below, doubt)
    )
    assert row["directional_high"] - row["directional"] == pytest.approx(
        math.hypot(above - row["directional"], doubt)
    )
    drawn = subspace(**noise._asdict(), batch_size=10, end="smallest", seed=2, ranks=2, resamples=5)
    assert row["subspace"] == pytest.approx(drawn.mean)
    half = 1.96 * row["subspace_expected_error"] * (-1.2 - row["subspace"])
    assert half > 1.96 * drawn.standard_errors[0]
    assert row["subspace_high"] - row["subspace_low"] == pytest.approx(2 * half)
    assert row["subspace_q50"] == pytest.approx(np.median(drawn.draws))
    assert row["chosen_value"] == row[row["chosen"]]
    assert row["overlap_subspace"] == pytest.approx(drawn.overlaps[:, 1].mean())
    assert row["overlap_directional"] == isotropic.overlap(-1.2, factor, 10.0, "smallest")
    second = frame.iloc[1]
    assert second["full"] == 0.2  # of the probe in which this rank lies farthest out
    assert second["directional"] == isotropic.directional(0.2, factor, 30.0, "largest")
    assert math.isnan(second["overlap_directional"])
    assert frame["overlap"].dropna().tolist() == pytest.approx([0.7, 0.2])
    assert frame["overlap"].dropna().index.tolist() == [0, 3]


def test_measured_columns_are_those_of_the_folds(noise):
    frame = sampling.outliers(spectra(), variance(), {0: noise})
    stack = next(m for m in spectra() if m.metadata["batch_size"] == 10)
    values = stack.ritz_values[:, 0, -1]
    row = frame.iloc[0]
    assert row["batch_mean"] == pytest.approx(values.mean())
    assert row["batch_standard_deviation"] == pytest.approx(values.std(ddof=1))
    assert row["batch_standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    assert row["batch_q50"] == pytest.approx(np.median(values))
    # Twice the residuals, which are not small beside the gaps.
    assert row["batch_residual"] == pytest.approx(2 * np.abs(values).mean() / 10)


def test_the_extremes_keep_the_columns_of_the_contract(noise):
    outliers = sampling.outliers(spectra(), variance(), {0: noise}, ranks=2)
    frame = sampling.theory_vs_empirical(outliers)
    assert list(frame.columns)[:14] == [
        "epoch", "batch_size", "end", "full", "batch_mean", "batch_standard_error",
        "batch_standard_deviation", "folds", "goe", "directional", "subspace",
        "subspace_standard_deviation", "chosen", "weyl",
    ]  # fmt: skip
    assert len(frame) == 2 * 2
    empty = sampling.outliers([], variance())
    assert list(sampling.theory_vs_empirical(empty).columns) == list(frame.columns)


def test_predictions_without_their_measurements_are_missing(noise):
    frame = sampling.outliers(
        [*spectra(0), *spectra(3)], variance(0), {0: noise._replace(group_size=4)}
    )
    at_start = frame[frame["epoch"] == 0].set_index(["batch_size", "end"])
    assert math.isnan(at_start.loc[(10, "largest"), "subspace"])
    assert at_start.loc[(10, "largest"), "chosen"] == "directional"
    assert at_start.loc[(40, "largest"), "chosen"] == "subspace"
    later = frame[frame["epoch"] == 3]
    assert later[["goe", "directional", "subspace", "weyl"]].isna().all(axis=None)
    assert later["batch_mean"].notna().all()


def test_batches_without_the_full_hessian_are_refused():
    batches = [m for m in spectra() if m.metadata["batch_size"]]
    with pytest.raises(ValueError, match="epoch 0; measure its full spectrum"):
        sampling.outliers(batches, variance())


def test_intervals_of_the_isotropic_variance_come_from_the_random_directions():
    measured = select.isotropic_variance(variance())
    assert (measured.value, measured.standard_error) == pytest.approx((2.0, 1.0))
    assert Variance(1.0, 1.0).interval() == (0.0, pytest.approx(2.96))


def of_sizes(sizes, lift=0.0, only=None):
    """Batches whose largest eigenvalues go as 4 + 30 f, those of size `only` lifted."""
    yield make_spectrum([[-1.0, 0.2, 4.0]])
    for size in sizes:
        scatter = np.random.default_rng(size).standard_normal((5, 1, 3)) / size
        shift = 30 * finite_population_factor(size, NUM_EXAMPLES) + lift * (size == only)
        folds = np.array([-1.2 - 4 / size, 0.0, 4 + shift]) + scatter
        yield make_spectrum(folds, num_examples=size, batch_size=size)


def test_extrapolation_never_sees_the_batches_that_it_is_compared_with():
    sizes = (10, 20, 40)
    plain = sampling.outliers(of_sizes(sizes), variance())
    for size in sizes:
        lifted = sampling.outliers(of_sizes(sizes, lift=5.0, only=size), variance())
        own = plain["batch_size"] == size
        columns = ["extrapolated", "extrapolated_low", "extrapolated_high"]
        pd.testing.assert_frame_equal(plain.loc[own, columns], lifted.loc[own, columns])
        moved = plain["batch_mean"] != lifted["batch_mean"]
        assert moved.equals(own & (plain["end"] == "largest"))


def test_each_prediction_says_what_it_took(noise):
    frame = sampling.outliers(of_sizes((10, 20, 40)), variance(), {0: noise}, ranks=1)
    row = frame[(frame["batch_size"] == 40) & (frame["end"] == "largest")].iloc[0]
    assert row["goe_passes"] == 2  # random directions
    assert row["directional_passes"] == 2  # the extreme Ritz vector of either end
    assert row["subspace_passes"] == 2  # as many vectors as `noise` was measured in
    steps, folds = 3, 5
    assert row["extrapolated_passes"] == pytest.approx(folds * steps * (10 + 20) / NUM_EXAMPLES)
    without = sampling.outliers(of_sizes((10, 20)), variance().iloc[:0])
    passes = without[[name for name in without if name.endswith("_passes")]]
    assert passes.isna().all(axis=None)
