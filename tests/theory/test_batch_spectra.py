"""Whole spectra of batches: laws by their moments and by matrices, distances by what they mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dense import Dense

from truehessian.measurements import source
from truehessian.report.tables import spectral
from truehessian.spectra import density, spectrum, stacks
from truehessian.spectra.resolved import resolved
from truehessian.theory.batch_spectra import BATCH_SPECTRA, choice, distance, measured, wishart
from truehessian.theory.batch_spectra.base import KnownSpectra
from truehessian.theory.batch_spectra.parts import averaged_model, outward
from truehessian.theory.batch_spectra.smaller_batches import displaced
from truehessian.theory.predictions.base import Variance
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.rmt import DiscreteMeasure

NUM_EXAMPLES, SIZE = 201, 11
FACTOR = finite_population_factor(SIZE, NUM_EXAMPLES)  # 19/220
VARIANCE = 0.8 / FACTOR
FULL = DiscreteMeasure(
    np.array([-1.0, -0.1, 0.0, 0.2, 1.5, 6.0]), np.array([0.05, 0.3, 0.25, 0.3, 0.08, 0.02])
)
NOISE = DiscreteMeasure(np.array([-0.5, -0.1, 2.0]), np.array([0.2, 0.65, 0.15]))


def known(**what):
    facts = {
        "batch_size": SIZE,
        "num_examples": NUM_EXAMPLES,
        "num_parameters": 10_000,
        "isotropic": Variance(VARIANCE, 0.0),
        "noise": NOISE,
    }
    return KnownSpectra(FULL, **(facts | what))


def predicted(name, **what):
    return BATCH_SPECTRA.load(name).predict(known(**what))


def central(measure, order):
    return float(measure.weights @ (measure.nodes - measure.moment(1)) ** order)


@pytest.mark.parametrize("shift", [-0.7, 0.3])
def test_shifted_measures_are_apart_by_the_shift(shift):
    moved = DiscreteMeasure(FULL.nodes + shift, FULL.weights)
    assert distance.wasserstein(FULL, moved) == pytest.approx(abs(shift))
    assert distance.wasserstein(FULL, FULL) == 0


def test_wasserstein_is_the_area_between_distribution_functions_and_kolmogorov_their_gap():
    other = DiscreteMeasure(np.array([-2.0, 0.1, 3.0]), np.array([0.2, 0.7, 0.1]))
    grid = np.linspace(-8, 8, 400_001)
    gap = np.abs(FULL.cdf(grid) - other.cdf(grid))
    assert distance.wasserstein(FULL, other) == pytest.approx(gap.mean() * 16, rel=1e-3)
    assert distance.kolmogorov(FULL, other) == pytest.approx(gap.max())


@pytest.mark.parametrize("name", ["semicircle", "marchenko_pastur"])
def test_noise_alike_in_all_directions_adds_its_free_cumulants(name):
    """Mean and variance add as ever; so does the third central moment, 0 or that of the noise."""
    law = predicted(name)
    assert law.moment(1) == pytest.approx(FULL.moment(1), abs=2e-3)
    assert central(law, 2) == pytest.approx(central(FULL, 2) + 0.8, rel=5e-3)
    own = central(NOISE, 3) * (0.8 / central(NOISE, 2)) ** 1.5 if name != "semicircle" else 0.0
    assert central(law, 3) == pytest.approx(central(FULL, 3) + own, rel=2e-2)


def test_mirrored_noise_gives_a_mirrored_law():
    mirrored = DiscreteMeasure(-NOISE.nodes, NOISE.weights)
    one, other = (predicted("marchenko_pastur", noise=noise) for noise in (NOISE, mirrored))
    assert central(one, 3) - central(FULL, 3) == pytest.approx(
        central(FULL, 3) - central(other, 3), rel=5e-2
    )


def test_measured_noise_adds_all_free_cumulants():
    """The fourth is the fourth central moment less twice the squared variance."""
    law = predicted("measured_noise")
    assert law.moment(1) == pytest.approx(FULL.moment(1) + NOISE.moment(1), abs=2e-3)
    for order in (2, 3):
        expected = central(FULL, order) + central(NOISE, order)
        assert central(law, order) == pytest.approx(expected, rel=2e-2)
    fourth = [central(each, 4) - 2 * central(each, 2) ** 2 for each in (law, FULL, NOISE)]
    assert fourth[0] == pytest.approx(fourth[1] + fourth[2], rel=3e-2)


def test_without_noise_nothing_changes():
    for name in ("full", "semicircle"):
        assert distance.wasserstein(predicted(name, batch_size=NUM_EXAMPLES), FULL) < 1e-12


def test_what_was_not_measured_predicts_nothing():
    unknown = Variance(np.nan, np.nan)
    for name in ("semicircle", "marchenko_pastur"):
        assert predicted(name, isotropic=unknown) is None
    for name in ("marchenko_pastur", "measured_noise"):
        assert predicted(name, noise=None) is None
    assert predicted("parts") is None
    assert predicted("smaller_batches") is None
    assert predicted("smaller_batches", smaller={SIZE: FULL, 50: FULL}) is None


def test_between_two_spectra_lies_one_of_the_wanted_second_moment():
    wide = DiscreteMeasure(np.array([-2.0, 0.0, 0.1, 9.0]), np.array([0.1, 0.4, 0.45, 0.05]))
    for share in (0.0, 0.3, 1.0):
        between = displaced(FULL, wide, share)
        expected = FULL.moment(2) + share * (wide.moment(2) - FULL.moment(2))
        assert between.moment(2) == pytest.approx(expected)
        # A geodesic: the two parts of the way add up.
        parts = [distance.wasserstein(between, end) for end in (FULL, wide)]
        assert sum(parts) == pytest.approx(distance.wasserstein(FULL, wide))


def test_the_nearest_of_the_smaller_batches_counts_and_larger_ones_do_not():
    wide = DiscreteMeasure(2 * FULL.nodes, FULL.weights)
    wider = DiscreteMeasure(9 * FULL.nodes, FULL.weights)
    one = predicted("smaller_batches", smaller={5: wide})
    other = predicted("smaller_batches", smaller={2: wider, 5: wide, SIZE: wider, 40: wider})
    assert distance.wasserstein(one, other) == 0
    share = FACTOR / finite_population_factor(5, NUM_EXAMPLES)
    assert one.moment(2) == pytest.approx((1 + 3 * share) * FULL.moment(2), rel=0.1)


def test_a_sample_covariance_of_a_population_of_both_signs_has_the_law_of_matrices():
    """W^(1/2) H W^(1/2) of order 600, W the covariance of 300 white vectors; and its moments."""
    size, samples = 600, 300
    values = np.repeat(FULL.nodes, np.round(size * FULL.weights).astype(int))
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(samples, size))
    matrix = (vectors * values) @ vectors.T / samples  # its eigenvalues, but for zeros
    found = np.concatenate([np.linalg.eigvalsh(matrix), np.zeros(size - samples)])

    ratio = size / samples
    law = predicted("wishart", isotropic=Variance(ratio * FULL.moment(1) ** 2 / FACTOR, 0.0))
    assert law.moment(1) == pytest.approx(FULL.moment(1), rel=5e-3)
    assert law.moment(2) == pytest.approx(FULL.moment(2) + ratio * FULL.moment(1) ** 2, rel=1e-2)
    matrices = DiscreteMeasure.of_eigenvalues(found)
    apart = distance.wasserstein(law, matrices) / distance.standard_deviation(matrices)
    assert apart < 0.02
    assert distance.wasserstein(FULL, matrices) / distance.standard_deviation(matrices) > 0.04


def lanczos(values, steps, folds, seed=0):
    """Spectra of a diagonal matrix from normal probes, as a stack."""
    operator = Dense(torch.diag(torch.from_numpy(values)))
    runs = [source.measure(operator, steps=steps, seed=seed + fold)[0] for fold in range(folds)]
    return stacks.stack_folds(runs, None)


OUTLIERS = np.array([3.0, 4.0, 6.0, 9.0, 14.0])
VALUES = np.concatenate([np.linspace(-1, 1, 995), OUTLIERS])


def test_resolved_eigenvalues_count_as_one_each():
    stack = lanczos(VALUES, 20, 30)
    plain, sharp = (density.counts_below(s, [2.0]).value[:, 0] for s in (stack, resolved(stack)))
    np.testing.assert_allclose(sharp, 995)
    assert plain.std() > 1
    np.testing.assert_allclose(resolved(stack).weights.sum(-1), 1)
    squares = [density.frobenius_norm(s).value ** 2 for s in (stack, resolved(stack))]
    exact = (VALUES**2).sum()
    assert squares[1].std() < 0.1 * squares[0].std()
    assert abs(squares[1].mean() - exact) < 5 * squares[1].std() / 30**0.5 + 1e-3 * exact


def test_what_is_no_single_eigenvalue_keeps_its_share():
    """A kernel of half the dimensions converges at once, and is not one eigenvalue."""
    values = np.concatenate([np.zeros(500), np.full(300, 2.0), np.linspace(5, 9, 200)])
    stack = lanczos(values, 30, 4)
    masses = density.mass_below(resolved(stack), [0.5, 3.0]).value
    plain = density.mass_below(stack, [0.5, 3.0]).value
    np.testing.assert_allclose(masses, plain, atol=0.01)
    np.testing.assert_allclose(masses.mean(0), [0.5, 0.8], atol=0.05)
    _, weights = spectrum.nodes(resolved(spectrum.fold(stack, 0)))
    assert weights.sum() == pytest.approx(1)


def test_means_over_folds_have_errors_and_a_floor():
    found = measured.of_batches(lanczos(VALUES, 20, 20), shift=0.5)
    mean, error = found.number(lambda law: law.moment(1))
    assert abs(mean - 0.5 - VALUES.mean()) < 5 * error
    truth = DiscreteMeasure.of_eigenvalues(VALUES + 0.5)
    assert 0 < found.floor < 0.02
    assert distance.wasserstein(found.mean, truth) < 0.05
    assert np.isnan(measured.of_batches(lanczos(VALUES, 20, 1)).floor)


def test_every_entry_bears_the_name_of_its_line_and_says_what_it_assumes():
    for name, entry in BATCH_SPECTRA.entries().items():
        assert entry.name == name
        assert entry.label
        assert entry.assumption


def test_outer_quantiles_are_those_of_the_model_and_the_trace_is_that_of_all_the_data():
    model = averaged_model([np.array([-3.0, 8.0, 9.0]), np.array([-4.0, 0.0, 7.0])], 200)
    np.testing.assert_allclose(model.weights[model.nodes == 0], 1 - 5 / 400)
    found = outward(FULL, model)
    assert found.moment(1) == pytest.approx(FULL.moment(1))
    assert found.edges == (-4.0, 9.0)


def test_a_model_within_the_full_spectrum_changes_nothing():
    for model in (DiscreteMeasure(np.zeros(1), np.ones(1)), FULL):
        assert distance.wasserstein(outward(FULL, model), FULL) < 1e-12


def test_spectra_of_more_eigenvalues_than_parameters_are_refused():
    with pytest.raises(ValueError, match="at most 2 eigenvalues, got 3"):
        averaged_model([np.arange(4.0)], 2)


def test_what_is_chosen_beforehand_is_what_more_was_measured_for():
    assert choice.chosen({"full": FULL, "semicircle": FULL}) == "full"
    assert choice.chosen({"full": FULL, "parts": FULL, "wishart": FULL}) == "parts"
    assert choice.chosen(dict.fromkeys(BATCH_SPECTRA, FULL)) == "smaller_batches"


@pytest.mark.parametrize("mean", [0.02, -0.3])
def test_a_population_of_small_or_negative_mean_has_a_law_too(mean):
    """The ratio of parameters and vectors becomes large; below one vector there is no law."""
    full = DiscreteMeasure(FULL.nodes - FULL.moment(1) + mean, FULL.weights)
    law = BATCH_SPECTRA.load("wishart").predict(replace(known(), full=full))
    assert law.moment(2) == pytest.approx(full.moment(2) + 0.8, rel=3e-2)
    assert law.moment(1) == pytest.approx(mean, rel=3e-2)
    less = replace(known(), full=DiscreteMeasure(full.nodes - mean + 1e-3, full.weights))
    assert BATCH_SPECTRA.load("wishart").predict(less) is None


def test_a_prediction_that_does_not_converge_is_left_out_with_a_word(monkeypatch, caplog):
    def fail(_):
        raise RuntimeError("no fixed point")

    broken = replace(BATCH_SPECTRA.load("wishart"), predict=fail)
    monkeypatch.setattr(wishart, "WISHART", broken)
    found = spectral._predicted(known())
    assert list(found) == ["full", "semicircle", "marchenko_pastur", "measured_noise"]
    assert "wishart of batches of 11 is left out: no fixed point" in caplog.text
