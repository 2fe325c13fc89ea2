import math

import numpy as np
import pytest
from scipy import stats

from truehessian import prediction, true_hessian

SIZES = np.array([16, 64, 256, 1797, 17970])


@pytest.mark.parametrize(("value", "end"), [(3.0, "largest"), (-0.8, "smallest"), (900, "largest")])
def test_inversion_undoes_the_prediction_with_one_over_n(value, end):
    variance, num_examples = 50.0, 100
    shown = prediction.goe(value, 1 / num_examples, variance, end)
    assert abs(shown) > abs(value)
    assert true_hessian.invert(shown, variance, num_examples) == pytest.approx(value, rel=1e-9)


def test_eigenvalues_inside_the_noise_are_not_identifiable():
    edge = 2 * math.sqrt(50.0 / 100)
    inverted = true_hessian.invert([-edge, 0.0, 0.99 * edge, 1.01 * edge], 50.0, 100)
    np.testing.assert_array_equal(np.isnan(inverted), [True, True, True, False])
    assert math.isnan(true_hessian.invert(3.0, math.nan, 100))


def test_impossible_inversions_are_refused():
    with pytest.raises(ValueError, match="num_examples"):
        true_hessian.invert(1.0, 1.0, 0)
    with pytest.raises(ValueError, match="variance"):
        true_hessian.invert(1.0, -1.0, 10)


def test_inherent_law_is_recovered_exactly():
    fit = true_hessian.fit_shrinkage(SIZES, 2.0 + 30.0 / SIZES)
    assert fit.inherent_limit == pytest.approx(2.0, rel=1e-12)
    assert fit.inherent_slope == pytest.approx(30.0, rel=1e-12)
    assert fit.inherent_low == pytest.approx(2.0)
    assert fit.inherent_high == pytest.approx(2.0)
    assert fit.better == "inherent"
    np.testing.assert_allclose(fit.inherent([10, 100]), [5.0, 2.3])


@pytest.mark.parametrize("coefficient", [7.0, -7.0])
def test_vanishing_law_is_recovered_exactly(coefficient):
    fit = true_hessian.fit_shrinkage(SIZES, coefficient / np.sqrt(SIZES))
    assert fit.vanishing_coefficient == pytest.approx(coefficient, rel=1e-12)
    assert fit.vanishing_low == pytest.approx(coefficient)
    assert fit.better == "vanishing"
    np.testing.assert_allclose(fit.vanishing([4, 100]), [coefficient / 2, coefficient / 10])


def test_unweighted_interval_is_that_of_simple_regression():
    generator = np.random.default_rng(0)
    values = 2.0 + 30.0 / SIZES + 0.1 * generator.standard_normal(len(SIZES))
    fit = true_hessian.fit_shrinkage(SIZES, values)
    reference = stats.linregress(1 / SIZES, values)
    half = stats.t.ppf(0.975, len(SIZES) - 2) * reference.intercept_stderr
    assert fit.inherent_limit == pytest.approx(reference.intercept)
    assert fit.inherent_slope == pytest.approx(reference.slope)
    assert fit.inherent_low == pytest.approx(reference.intercept - half)
    assert fit.inherent_high == pytest.approx(reference.intercept + half)


def test_intervals_cover_the_truth_in_19_of_20_cases():
    """Noise of uneven, known ratios: the weighted intervals have their nominal coverage."""
    generator = np.random.default_rng(1)
    errors, repeats = 3 / np.sqrt(SIZES), 2000
    noise = errors * generator.standard_normal((repeats, len(SIZES)))
    inherent = [
        true_hessian.fit_shrinkage(SIZES, 2 + 30 / SIZES + row, 10 * errors) for row in noise
    ]
    vanishing = [
        true_hessian.fit_shrinkage(SIZES, -7 / np.sqrt(SIZES) + row, errors) for row in noise
    ]
    standard_error = math.sqrt(0.95 * 0.05 / repeats)
    covered = np.mean([fit.inherent_low < 2 < fit.inherent_high for fit in inherent])
    assert abs(covered - 0.95) < 4 * standard_error
    covered = np.mean([fit.vanishing_low < -7 < fit.vanishing_high for fit in vanishing])
    assert abs(covered - 0.95) < 4 * standard_error


def test_two_sizes_leave_the_inherent_law_without_an_interval_or_a_comparison():
    fit = true_hessian.fit_shrinkage([100, 1000], [3.0, 2.0])
    assert fit.inherent_limit == pytest.approx(2 - 1 / 9)
    assert math.isnan(fit.inherent_low)
    assert math.isnan(fit.inherent_high)
    assert fit.vanishing_low < fit.vanishing_coefficient < fit.vanishing_high
    assert fit.better == "undecided"


def test_inherent_law_has_to_earn_its_second_parameter():
    generator = np.random.default_rng(2)
    closer_but_not_better = 0
    for _ in range(200):
        values = (5 + 2 * generator.standard_normal(4)) / np.sqrt([16, 20, 24, 28])
        fit = true_hessian.fit_shrinkage([16, 20, 24, 28], values)
        per_degree = fit.inherent_residual / 2, fit.vanishing_residual / 3
        assert fit.better == ("inherent" if per_degree[0] < per_degree[1] else "vanishing")
        closer = fit.inherent_residual < fit.vanishing_residual
        closer_but_not_better += closer and fit.better == "vanishing"
    assert closer_but_not_better > 20


def test_impossible_fits_are_refused():
    with pytest.raises(ValueError, match="two different sizes"):
        true_hessian.fit_shrinkage([100, 100], [3.0, 2.0])
    with pytest.raises(ValueError, match="shapes"):
        true_hessian.fit_shrinkage([100, 200], [3.0])
    with pytest.raises(ValueError, match="positive"):
        true_hessian.fit_shrinkage([100, 200], [3.0, 2.0], [0.1, 0.0])


@pytest.mark.parametrize(
    ("held_out", "error", "end", "words"),
    [
        (-0.253, 0.031, "smallest", "negative curvature is inherent (z = -8.2)"),
        (-0.008, 0.004, "smallest", "not distinguishable from zero (z = -2.0)"),
        (0.5, 0.1, "smallest", "no negative curvature here (z = 5.0)"),
        (1.192, 0.019, "largest", "positive curvature confirmed (z = 62.7)"),
        (0.1, 0.05, "largest", "not distinguishable from zero (z = 2.0)"),
        (-0.5, 0.1, "largest", "no positive curvature here (z = -5.0)"),
    ],
)
def test_verdict_says_what_the_held_out_curvature_shows(held_out, error, end, words):
    z, verdict = true_hessian.held_out_verdict(held_out, error, end)
    assert z == pytest.approx(held_out / error)
    assert verdict == words


@pytest.mark.parametrize(("held_out", "error"), [(1.0, math.nan), (math.nan, 1.0), (1.0, 0.0)])
def test_without_a_standard_error_there_is_no_verdict(held_out, error):
    z, verdict = true_hessian.held_out_verdict(held_out, error, "largest")
    assert math.isnan(z)
    assert verdict == "no held-out estimate"


def test_unknown_end_is_refused():
    with pytest.raises(ValueError, match="bottom"):
        true_hessian.held_out_verdict(1.0, 1.0, "bottom")
