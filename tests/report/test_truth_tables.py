import io
import math

import numpy as np
import pandas as pd
import pytest
from table_cases import NUM_EXAMPLES, make_spectrum, spectra, variance

from truehessian.report.tables import extremes, shrinkage as by_size, truth
from truehessian.theory import shrinkage
from truehessian.theory.estimates.inversion import invert
from truehessian.theory.predictions.noise import SubspaceNoise


@pytest.fixture
def extremal():
    return extremes.extremal_ritz_values([*spectra(3), *spectra(0)])


def through_csv(frame):
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)))


def test_no_spectra_give_an_empty_table_with_all_columns():
    frame = by_size.shrinkage(extremes.extremal_ritz_values([]))
    assert frame.empty
    assert list(frame.columns) == list(by_size.SHRINKAGE_COLUMNS)


def test_shrinkage_follows_the_training_hessian_over_all_sample_sizes(extremal):
    halves = make_spectrum([[[-1.3, 4.4]], [[-1.2, 4.2]]], epoch=3, num_examples=100, parts=2)
    frame = by_size.shrinkage(extremal, extremes.extremal_ritz_values([halves]))
    assert list(frame.columns) == list(by_size.SHRINKAGE_COLUMNS)
    assert list(frame.columns[:14]) == [
        "epoch", "end", "num_examples", "value", "inherent_limit", "inherent_low",
        "inherent_high", "inherent_slope", "inherent_fit", "vanishing_coefficient",
        "vanishing_low", "vanishing_high", "vanishing_fit", "better",
    ]  # fmt: skip
    part = frame[(frame["epoch"] == 3) & (frame["end"] == "largest")]
    assert part["num_examples"].tolist() == [10, 40, 100, 200, 2000]
    assert part["value"].tolist()[2:] == pytest.approx([4.3, 4.0, 3.8])
    assert part["subsets"].tolist() == [5, 5, 2, 1, 1]
    assert part["standard_error"].tolist()[2:] == pytest.approx([0.1, np.nan, np.nan], nan_ok=True)
    assert part["data"].tolist() == ["original"] * 4 + ["augmented"]
    part, augmented = part.iloc[:4], part.iloc[4]
    errors = 1 / np.sqrt(part["num_examples"] * [5, 5, 2, 1])
    fit = shrinkage.fit_shrinkage(part["num_examples"], part["value"], errors)
    for column in ("inherent_limit", "inherent_low", "vanishing_coefficient", "exponent"):
        assert part[column].tolist() == [getattr(fit, column)] * 4
    np.testing.assert_allclose(part["inherent_fit"], fit.inherent(part["num_examples"]))
    np.testing.assert_allclose(part["vanishing_fit"], fit.vanishing(part["num_examples"]))
    assert math.isnan(augmented["inherent_limit"])


def test_augmented_data_of_two_factors_have_laws_of_their_own():
    frame = by_size.shrinkage(
        extremes.extremal_ritz_values(
            make_spectrum([[-1.0, value]], num_examples=factor * 100, factor=factor)
            for factor, value in ((1, 3.0), (10, 2.1), (100, 2.01))
        )
    )
    largest = frame[frame["end"] == "largest"]
    assert largest["data"].tolist() == ["augmented"] * 3
    assert largest["inherent_limit"].tolist() == pytest.approx([2.0] * 3)


def test_shrinkage_from_one_sample_size_fits_nothing():
    frame = by_size.shrinkage(extremes.extremal_ritz_values([make_spectrum([[-1.0, 2.0]])]))
    assert frame["value"].tolist() == [2.0, -1.0]
    assert frame["better"].tolist() == ["undecided"] * 2
    assert frame[["inherent_limit", "vanishing_fit"]].isna().all(axis=None)


@pytest.fixture
def held_out():
    return pd.DataFrame(
        {
            "epoch": [0, 0, 0],
            "end": ["smallest", "largest", "largest"],
            "rank": [1, 1, 2],
            "empirical": [-1.2, 4.0, 0.9],
            "held_out": [-1.0, 3.5, 0.2],
            "held_out_standard_error": [0.1, 0.1, 0.2],
            "num_examples": [77] * 3,
            "bracket_low": [-1.4, 3.3, math.nan],
            "bracket_high": [-0.9, 3.7, math.nan],
            "bracket_folds": [2, 2, 0],
            "bracket_deviation": [1.0, 1.0, math.nan],
        }
    )


def test_true_hessian_sets_all_estimates_side_by_side(extremal, held_out):
    variances = pd.concat([variance(0), variance(3)])
    frame = truth.true_hessian(extremal, variances, held_out)
    assert list(frame.columns) == list(truth.TRUE_HESSIAN_COLUMNS)
    assert list(frame.columns[:12]) == [
        "epoch", "end", "rank", "empirical", "inverted_goe", "inverted_directional", "held_out",
        "held_out_standard_error", "z", "bracket_low", "bracket_high", "verdict",
    ]  # fmt: skip
    assert frame[["epoch", "end", "rank"]].values.tolist() == [
        [0, "largest", 1], [0, "largest", 2], [0, "smallest", 1],
        [3, "largest", 1], [3, "smallest", 1],
    ]  # fmt: skip
    top, second, bottom, later, _ = (row for _, row in frame.iterrows())
    assert top["inverted_goe"] == invert(4.0, 2.0, NUM_EXAMPLES)
    assert top["inverted_directional"] == invert(4.0, 60.0, NUM_EXAMPLES)
    assert second["inverted_directional"] == invert(0.9, 30.0, NUM_EXAMPLES)
    assert bottom["inverted_directional"] == invert(-1.2, 10.0, NUM_EXAMPLES)
    assert (top["bracket_low"], top["bracket_high"]) == (3.3, 3.7)
    assert math.isnan(second["bracket_low"])
    assert top["verdict"] == (
        "positive curvature confirmed: 8.9 (8.64 to 9.11); the training data's vector shows it too "
        "(z = 35.0)"
    )
    assert (top["estimate"], top["sign"]) == (pytest.approx(8.9), "positive")
    assert (bottom["sign"], second["sign"]) == ("negative", "open")
    assert second["z"] == pytest.approx(1.0)
    assert second["verdict"].startswith("no estimate from examples that the weights have not seen")
    assert later["empirical"] == 4.0
    assert later["verdict"] == "no estimate from examples that the weights have not seen"
    assert top["inversion"] == "identifiable"
    assert "the training data's own value (4) lies below" in top["disagreements"]
    assert "the bracket (3.3 to 3.7) lies beside the interval" in top["disagreements"]


def test_the_extreme_of_the_test_split_stands_beside_its_bracket(extremal, held_out):
    frame = truth.true_hessian(extremal, variance(0), held_out)
    frame = frame.set_index(["epoch", "end", "rank"])
    top, bottom = frame.loc[(0, "largest", 1)], frame.loc[(0, "smallest", 1)]
    assert (top["test"], bottom["test"]) == (9.0, -9.0)
    assert not top["bracket_holds_test"]
    # Half of half of the bracket's width: the split is twice as large as a fold.
    assert top["cross_validated"] == pytest.approx(9.0 - 0.1)
    assert bottom["cross_validated"] == pytest.approx(-9.0 + 0.125)
    error = 1.6448536 / math.sqrt(77)
    outwards, inwards = math.hypot(error, 0.1), math.hypot(error, (2 * math.sqrt(2) - 1) * 0.1)
    assert top["cross_validated_high"] - top["cross_validated"] == pytest.approx(outwards)
    assert top["cross_validated"] - top["cross_validated_low"] == pytest.approx(inwards)
    assert math.isnan(frame.loc[(0, "largest", 2), "cross_validated"])


def test_eigenvalue_inside_the_noise_is_said_not_to_be_identifiable(extremal, held_out):
    loud = variance(0).assign(variance=1e4)
    frame = truth.true_hessian(extremal, loud, held_out)
    assert frame[["inverted_goe", "inverted_directional"]].isna().all(axis=None)
    words = dict(zip(frame["epoch"], frame["inversion"], strict=True))
    assert words == {0: "inside the noise, not identifiable", 3: "variance not measured"}


def test_a_contradiction_stands_in_the_verdict(extremal, held_out):
    held_out.loc[held_out["end"] == "smallest", ["held_out"]] = -12.0
    frame = truth.true_hessian(extremal, variance(0), held_out)
    row = frame[(frame["epoch"] == 0) & (frame["end"] == "smallest")].iloc[0]
    assert "CONTRADICTION" in row["verdict"]
    assert row["estimate_low"] < -12 < row["estimate_high"]


def test_the_examples_that_carry_an_eigenvalue_are_counted_on_both_splits(extremal, held_out):
    """Of 200 examples in four groups, those of one group carry the largest value alone."""
    projected = np.zeros((4, 4, 4))
    projected[0, 0, 0] = 16.0
    projected[:, 2, 2] = -1.2
    noise = SubspaceNoise(
        np.array([4.0, 0.9, -1.2, -0.1]), projected, np.zeros((4, 4)), 50, NUM_EXAMPLES
    )
    frame = truth.true_hessian(extremal, variance(0), held_out, subspaces={0: noise})
    frame = frame.set_index(["epoch", "end", "rank"])
    top, bottom = frame.loc[(0, "largest", 1)], frame.loc[(0, "smallest", 1)]
    assert top["effective_examples"] == pytest.approx(NUM_EXAMPLES * 16 / (16 + 50 * 64))
    assert "few examples" not in top["verdict"]  # made from those of the test split
    assert bottom["effective_examples"] == NUM_EXAMPLES
    assert "carry" not in bottom["verdict"]
    assert frame.loc[(0, "largest", 2), "effective_examples"] == 0
    assert math.isnan(frame.loc[(3, "largest", 1), "effective_examples"])
    assert top["test_effective_examples"] == pytest.approx(77 * 3.3**2 / (3.3**2 + 1))

    loud = held_out.assign(bracket_deviation=6.0)
    frame = truth.true_hessian(extremal, variance(0), loud, subspaces={0: noise})
    assert "few examples carry this eigenvalue (about 18 of 77)" in frame["verdict"][0]
    without = held_out.drop(columns="bracket_folds")
    frame = truth.true_hessian(extremal, variance(0), without, subspaces={0: noise})
    assert f"few examples carry this eigenvalue (about 1 of {NUM_EXAMPLES})" in frame["verdict"][0]


def test_inner_eigenvalues_are_cross_validated_where_folds_have_seen_them(extremal, held_out):
    held_out = held_out.assign(fitted_value=[-1.4, 3.7, 1.3], crossed=[-0.9, 3.3, 0.5])
    held_out.loc[2, ["bracket_folds", "bracket_deviation"]] = [2, 0.7]
    spectrum = make_spectrum([[-9.0, -1.0, 0.0, 1.2, 9.0]], epoch=0, num_examples=77, split="test")
    frame = truth.true_hessian(extremal, variance(0), held_out, of_test=[spectrum])
    second = frame.set_index(["epoch", "end", "rank"]).loc[(0, "largest", 2)]
    assert second["test"] == 1.2
    assert second["cross_validated"] == pytest.approx(1.2 - 0.2)
    assert math.isnan(second["bracket_low"])
    assert second["sign"] == "positive"
    assert "the sign is not known (z = 1.0)" in second["verdict"]


@pytest.fixture
def guesses():
    rows = [
        (5, 64, repetition, "largest", name, value, value - 1, value + 1, 10.0)
        for name, values in {
            "naive": (12.0, 14.0, 13.0, 13.0),
            "inverted": (10.5, math.nan, 11.5, math.nan),
        }.items()
        for repetition, value in enumerate(values)
    ]
    columns = ["epoch", "num_examples", "repetition", "end", "estimator", "estimate"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high", "truth"]).assign(rank=1)


def test_self_test_averages_errors_over_the_subsamples_with_an_estimate(guesses):
    frame = truth.self_test(guesses)
    assert list(frame.columns) == list(truth.SELF_TEST_COLUMNS)
    naive, inverted = (row for _, row in frame.iterrows())
    assert (naive["bias"], naive["bias_of_naive"], naive["coverage"]) == (3.0, 1.0, 0.0)
    assert inverted["identifiable"] == 0.5
    assert inverted["bias"] == pytest.approx(1.0)
    assert inverted["bias_of_naive"] == pytest.approx(1.0 / 2.5)  # naive: 12 and 13 on the same
    assert inverted["coverage"] == 0.5
    assert inverted["root_mean_square_error"] == pytest.approx(math.sqrt((0.25 + 2.25) / 2))
    assert inverted["repetitions"] == 4


def test_tables_read_back_from_csv_give_the_same_results(extremal, held_out, guesses):
    for build, table in (
        (by_size.shrinkage, extremal),
        (lambda t: truth.true_hessian(t, variance(), through_csv(held_out)), extremal),
        (truth.self_test, guesses),
    ):
        pd.testing.assert_frame_equal(build(through_csv(table)), build(table))
