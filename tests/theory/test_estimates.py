import math

import numpy as np
import pytest
from scipy import stats

from truehessian.theory.estimates import inversion
from truehessian.theory.estimates.cross_validation import cross_validate
from truehessian.theory.predictions import isotropic
from truehessian.theory.predictions.factor import sampling_factor


@pytest.mark.parametrize(("value", "end"), [(3.0, "largest"), (-0.8, "smallest"), (900, "largest")])
def test_inversion_undoes_the_prediction_with_one_over_n(value, end):
    variance, num_examples = 50.0, 100
    shown = isotropic.goe(value, 1 / num_examples, variance, end)
    assert abs(shown) > abs(value)
    assert inversion.invert(shown, variance, num_examples) == pytest.approx(value, rel=1e-9)


def test_eigenvalues_inside_the_noise_are_not_identifiable():
    edge = 2 * math.sqrt(50.0 / 100)
    inverted = inversion.invert([-edge, 0.0, 0.99 * edge, 1.01 * edge], 50.0, 100)
    np.testing.assert_array_equal(np.isnan(inverted), [True, True, True, False])
    assert math.isnan(inversion.invert(3.0, math.nan, 100))


def test_impossible_inversions_are_refused():
    with pytest.raises(ValueError, match="num_examples"):
        inversion.invert(1.0, 1.0, 0)
    with pytest.raises(ValueError, match="variance"):
        inversion.invert(1.0, -1.0, 10)


def spiked(spike, count, generator, order=60, scale=0.3):
    """A spike in Gaussian noise whose scale is that of a mean over `count` examples."""
    draws = generator.standard_normal((order, order))
    noise = (draws + draws.T) * scale / math.sqrt(2 * count)
    noise[0, 0] += spike
    return noise


@pytest.mark.parametrize("spike", [2.0, -2.0])
def test_half_the_difference_of_fitted_and_crossed_is_the_bias(spike):
    """Two halves of a sample, 400 times: the mean estimate is the spike, the naive one is not."""
    generator, count = np.random.default_rng(0), 4
    column = -1 if spike > 0 else 0
    naive, corrected = [], []
    for _ in range(400):
        halves = [spiked(spike, count / 2, generator) for _ in range(2)]
        fitted, crossed = [], []
        for own, other in (halves, halves[::-1]):
            values, vectors = np.linalg.eigh(own)
            fitted.append(values[column])
            crossed.append(vectors[:, column] @ other @ vectors[:, column])
        naive.append(np.linalg.eigvalsh(sum(halves) / 2)[column])
        found = cross_validate(
            naive[-1], np.mean(fitted), np.mean(crossed), 1.0, fitted=2, num_examples=4
        )
        assert found.value + found.bias == pytest.approx(naive[-1])
        corrected.append(found.value)
    error = np.std(corrected) / 20
    bias = np.mean(naive) - spike
    assert math.copysign(1, spike) * bias > 10 * error
    assert abs(np.mean(corrected) - spike) < 5 * error
    assert abs(np.mean(corrected) - spike) < abs(bias) / 5


def test_intervals_of_the_estimate_cover_the_truth_in_nine_of_ten_cases():
    """A mean of n curvatures without any bias: the interval is that of a mean."""
    generator, count, repeats = np.random.default_rng(1), 40, 2000
    means = 3 + 2 * generator.standard_normal(repeats) / math.sqrt(count)
    found = [cross_validate(mean, mean, mean, 2.0, fitted=20, num_examples=count) for mean in means]
    covered = np.mean([interval.low < 3 < interval.high for interval in found])
    assert abs(covered - 0.9) < 4 * math.sqrt(0.09 / repeats)


def test_few_degrees_of_freedom_and_a_large_bias_widen_the_interval():
    sizes = {"fitted": 20, "num_examples": 40}
    plain = cross_validate(5.0, 5.0, 5.0, 2.0, **sizes)
    few = cross_validate(5.0, 5.0, 5.0, 2.0, degrees_of_freedom=4, **sizes)
    widths = (few.high - few.low) / (plain.high - plain.low)
    assert widths == pytest.approx(stats.t.ppf(0.95, 4) / stats.norm.ppf(0.95))
    biased = cross_validate(9.0, 11.0, 5.0, 0.0, **sizes)
    assert biased.bias == pytest.approx(1.5)
    assert biased.value - biased.low == pytest.approx((2 * math.sqrt(2) - 1) * 1.5)
    assert biased.high - biased.value == pytest.approx(1.5)


def test_the_wide_side_of_the_interval_is_where_the_correction_went():
    """At the smallest end the same happens on the other side of zero."""
    top = cross_validate(9.0, 11.0, 5.0, 2.0, skewness=3.0, fitted=20, num_examples=40)
    bottom = cross_validate(-9.0, -11.0, -5.0, 2.0, skewness=-3.0, fitted=20, num_examples=40)
    assert bottom == pytest.approx((-top.value, -top.high, -top.low, -top.bias))
    assert top.value - top.low > top.high - top.value


def test_a_tail_outwards_adds_to_the_outer_side_and_one_inwards_takes_from_it():
    sizes = {"fitted": 20, "num_examples": 40}
    plain, long, short = (
        cross_validate(9.0, 11.0, 5.0, 2.0, skewness=skewness, **sizes)
        for skewness in (0.0, 3.0, -3.0)
    )
    quantile = stats.norm.ppf(0.95)
    johnson = (1 + 2 * quantile**2) / 6 * 3 / math.sqrt(40) * 2 / math.sqrt(40)
    assert long.high - plain.high == pytest.approx(johnson)
    outer = math.hypot(quantile * 2 / math.sqrt(40), 0.75)
    assert short.high - short.value == pytest.approx(outer - johnson)
    assert plain.low == long.low == short.low
    unknown = cross_validate(9.0, 11.0, 5.0, 2.0, **sizes)
    assert unknown == plain


def test_intervals_cover_where_a_spike_is_nearly_lost_in_the_noise():
    """Gaussian noise and little of a gap: a third of the correction covers far less."""
    generator, count, repeats = np.random.default_rng(2), 16, 300
    held, narrow = 0, 0
    for _ in range(repeats):
        quarters = [spiked(1.2, count / 4, generator, scale=2.0) for _ in range(4)]
        fitted, crossed = [], []
        for number in range(4):
            rest = sum(quarters[:number] + quarters[number + 1 :]) / 3
            values, vectors = np.linalg.eigh(rest)
            fitted.append(values[-1])
            crossed.append(vectors[:, -1] @ quarters[number] @ vectors[:, -1])
        whole = np.linalg.eigvalsh(sum(quarters) / 4)[-1]
        found = cross_validate(
            whole, np.mean(fitted), np.mean(crossed), 2.0 * math.sqrt(2), fitted=12, num_examples=16
        )
        held += found.low <= 1.2 <= found.high
        half = stats.norm.ppf(0.95) * math.hypot(2.0 * math.sqrt(2) / 4, found.bias / 3)
        narrow += abs(found.value - 1.2) <= half
    assert held / repeats >= 0.8
    assert narrow / repeats < 0.7


def test_a_sample_that_is_the_population_has_nothing_to_correct():
    found = cross_validate(5.0, 7.0, 2.0, 3.0, fitted=10, num_examples=20, population=20)
    assert found == (5.0, 5.0, 5.0, 0.0)


def test_a_finite_population_counts_the_examples_of_the_fit_to_the_truth():
    found = cross_validate(5.0, 7.0, 2.0, 3.0, fitted=10, num_examples=20, population=40)
    inside = 0.75 * 2.0 + 0.25 * 7.0
    assert found.bias == pytest.approx((7.0 - inside) / 2 * (1 / 40) / (3 / 40))
    assert sampling_factor(20, 40) == pytest.approx(1 / 40)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="fitted must be at most num_examples, got 30 and 20"):
        cross_validate(1, 1, 1, 1, fitted=30, num_examples=20)
    with pytest.raises(ValueError, match="at most 10"):
        sampling_factor(20, 10)


def test_where_few_examples_carry_the_eigenvalue_misses_are_not_all_on_one_side():
    """One direction, curvatures of skewness 6: samples without the carriers see too little."""
    generator, count, repeats = np.random.default_rng(3), 40, 2000
    missed = {"skewed": 0, "plain": 0}
    for _ in range(repeats):
        curvatures = generator.exponential(size=count) ** 2  # mean 2
        mean, spread = curvatures.mean(), curvatures - curvatures.mean()
        deviation = float(np.sqrt((spread**2).sum() / (count - 1)))
        skewness = float((spread**3).mean() / deviation**3)
        for name, own in (("skewed", skewness), ("plain", math.nan)):
            found = cross_validate(
                mean, mean, mean, deviation, skewness=own, fitted=30, num_examples=count
            )
            missed[name] += found.high < 2
    assert missed["plain"] / repeats > 0.17
    assert missed["skewed"] / repeats < 0.8 * missed["plain"] / repeats
