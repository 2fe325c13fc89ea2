import math

import numpy as np
import pytest
from scipy import stats

from truehessian.theory import shrinkage

SIZES = np.array([16, 64, 256, 1797, 17970])


def test_inherent_law_is_recovered_exactly():
    fit = shrinkage.fit_shrinkage(SIZES, 2.0 + 30.0 / SIZES)
    assert fit.inherent_limit == pytest.approx(2.0, rel=1e-12)
    assert fit.inherent_slope == pytest.approx(30.0, rel=1e-12)
    assert fit.inherent_low == pytest.approx(2.0)
    assert fit.inherent_high == pytest.approx(2.0)
    assert fit.better == "inherent"
    np.testing.assert_allclose(fit.inherent([10, 100]), [5.0, 2.3])


@pytest.mark.parametrize("coefficient", [7.0, -7.0])
def test_vanishing_law_is_recovered_exactly(coefficient):
    fit = shrinkage.fit_shrinkage(SIZES, coefficient / np.sqrt(SIZES))
    assert fit.vanishing_coefficient == pytest.approx(coefficient, rel=1e-12)
    assert fit.vanishing_low == pytest.approx(coefficient)
    assert fit.exponent == pytest.approx(-0.5)
    assert fit.better == "vanishing"
    np.testing.assert_allclose(fit.vanishing([4, 100]), [coefficient / 2, coefficient / 10])


@pytest.mark.parametrize("exponent", [0.0, -0.3, -1.0])
def test_any_power_law_is_recovered_exactly(exponent):
    fit = shrinkage.fit_shrinkage(SIZES, -3.0 * SIZES**exponent, 1 / np.sqrt(SIZES))
    assert fit.exponent == pytest.approx(exponent, abs=1e-12)
    assert fit.exponent_low == pytest.approx(exponent, abs=1e-9)


def test_values_of_both_signs_follow_no_power_law():
    fit = shrinkage.fit_shrinkage(SIZES, [2.0, 1.0, 0.5, -0.1, 0.1])
    assert math.isnan(fit.exponent)
    assert math.isfinite(fit.inherent_limit)


def test_unweighted_interval_is_that_of_simple_regression():
    generator = np.random.default_rng(0)
    values = 2.0 + 30.0 / SIZES + 0.1 * generator.standard_normal(len(SIZES))
    fit = shrinkage.fit_shrinkage(SIZES, values)
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
    inherent = [shrinkage.fit_shrinkage(SIZES, 2 + 30 / SIZES + row, 10 * errors) for row in noise]
    vanishing = [shrinkage.fit_shrinkage(SIZES, -7 / np.sqrt(SIZES) + row, errors) for row in noise]
    standard_error = math.sqrt(0.95 * 0.05 / repeats)
    covered = np.mean([fit.inherent_low < 2 < fit.inherent_high for fit in inherent])
    assert abs(covered - 0.95) < 4 * standard_error
    covered = np.mean([fit.vanishing_low < -7 < fit.vanishing_high for fit in vanishing])
    assert abs(covered - 0.95) < 4 * standard_error


def test_small_noise_leaves_no_doubt_which_law_holds():
    """Relative noise of 2 %, alike at all sizes: neither law is taken for the other."""
    generator = np.random.default_rng(3)
    sizes = np.array([16, 32, 64, 128, 256, 512])
    for law, values in (("inherent", 2 + 30 / sizes), ("vanishing", 8 / np.sqrt(sizes))):
        noise = 1 + 0.02 * generator.standard_normal((100, len(sizes)))
        fits = [shrinkage.fit_shrinkage(sizes, values * row, values) for row in noise]
        found = [fit.better for fit in fits]
        wrong = {"inherent": "vanishing", "vanishing": "inherent"}[law]
        assert found.count(wrong) == 0
        assert found.count(law) > 80


def test_two_sizes_leave_the_inherent_law_without_an_interval_or_a_comparison():
    fit = shrinkage.fit_shrinkage([100, 1000], [3.0, 2.0])
    assert fit.inherent_limit == pytest.approx(2 - 1 / 9)
    assert math.isnan(fit.inherent_low)
    assert math.isnan(fit.inherent_high)
    assert math.isnan(fit.inherent_aicc)
    assert fit.vanishing_low < fit.vanishing_coefficient < fit.vanishing_high
    assert fit.better == "undecided"


def test_the_criterion_is_the_one_of_gaussian_likelihood():
    """AICc from the maximum of the log-likelihood of a regression that SciPy has fitted."""
    values = np.array([4.1, 2.6, 2.0, 2.1, 1.9])
    fit = shrinkage.fit_shrinkage(SIZES, values)
    line = stats.linregress(1 / SIZES, values)
    residuals = values - line.intercept - line.slope / SIZES
    points, parameters = 5, 3
    likelihood = stats.norm.logpdf(residuals, scale=residuals.std()).sum()
    aic = 2 * parameters - 2 * likelihood - points * (1 + math.log(2 * math.pi))
    correction = 2 * parameters * (parameters + 1) / (points - parameters - 1)
    assert fit.inherent_aicc == pytest.approx(aic + correction)


def test_impossible_fits_are_refused():
    with pytest.raises(ValueError, match="two different sizes"):
        shrinkage.fit_shrinkage([100, 100], [3.0, 2.0])
    with pytest.raises(ValueError, match="shapes"):
        shrinkage.fit_shrinkage([100, 200], [3.0])
    with pytest.raises(ValueError, match="positive"):
        shrinkage.fit_shrinkage([100, 200], [3.0, 2.0], [0.1, 0.0])
