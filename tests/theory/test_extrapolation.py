"""Batches of other sizes, extrapolated to one that was not measured."""

import math
from dataclasses import replace

import numpy as np
import pytest

from truehessian.theory.predictions import extrapolation
from truehessian.theory.predictions.base import Draws, Known, MeasuredBatches, Variance
from truehessian.theory.predictions.extrapolation import EXTRAPOLATED, power_law
from truehessian.theory.predictions.factor import finite_population_factor

NUM_EXAMPLES = 1000
NOTHING = Variance(math.nan, math.nan)
FULL = {"largest": np.array([4.0, 2.0]), "smallest": np.array([-3.0, -1.0])}


def shifts(size, exponent, scale=8.0):
    return scale * finite_population_factor(size, NUM_EXAMPLES) ** exponent


def batches(size, exponent, end="largest", folds=3, scatter=0.0, seed=0):
    sign = 1 if end == "largest" else -1
    noise = scatter * np.random.default_rng([seed, size]).standard_normal((folds, 2))
    values = FULL[end] + sign * shifts(size, exponent) + noise
    return MeasuredBatches(size, values, passes=folds * size * 10 / NUM_EXAMPLES)


def known(batch_size, measured, end="largest"):
    variances = NOTHING, [NOTHING] * 2
    return Known(
        FULL[end], end, batch_size, NUM_EXAMPLES, 50, *variances, None, Draws(2), measured=measured
    )


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.75, 1.0, 1.3])
@pytest.mark.parametrize("end", ["largest", "smallest"])
@pytest.mark.parametrize("sizes", [(16, 32), (16, 32, 64)])
def test_power_laws_are_recovered_and_extrapolated(exponent, end, sizes):
    measured = [batches(size, exponent, end) for size in sizes]
    for wanted in (128, 500, NUM_EXAMPLES):
        found = EXTRAPOLATED.predict(known(wanted, measured, end))
        sign = 1 if end == "largest" else -1
        truth = FULL[end] + sign * (shifts(wanted, exponent) if wanted < NUM_EXAMPLES else 0)
        np.testing.assert_allclose(found.value, truth, rtol=1e-7)
        np.testing.assert_allclose(found.low, truth, rtol=1e-6)
        if wanted < NUM_EXAMPLES:
            np.testing.assert_allclose(found.further["exponent"], exponent, atol=1e-7)


def test_smaller_sizes_are_used_where_there_are_two_and_larger_ones_are_owned_up_to():
    law = [batches(size, 0.7) for size in (16, 32, 64, 128, 256)]

    def sizes(wanted, measured=law):
        others = [each for each in measured if each.batch_size != wanted]
        found = EXTRAPOLATED.predict(known(wanted, others)).further
        return found["smallest_size"][0], found["largest_size"][0]

    assert sizes(256) == (16, 128)
    assert sizes(64) == (16, 32)
    assert sizes(32) == (16, 64)
    assert sizes(16) == (32, 64)


def test_a_size_never_sees_larger_ones_where_smaller_ones_are_enough():
    smaller = [batches(size, 0.7) for size in (16, 32)]
    misleading = [batches(256, 0.1)]
    alone = EXTRAPOLATED.predict(known(64, smaller))
    beside = EXTRAPOLATED.predict(known(64, smaller + misleading))
    np.testing.assert_array_equal(alone.value, beside.value)


def test_it_took_the_products_of_the_batches_that_it_is_made_from():
    law = [batches(size, 0.7) for size in (16, 32, 128)]
    assert EXTRAPOLATED.passes(known(64, law)) == pytest.approx(3 * 10 * (16 + 32) / NUM_EXAMPLES)
    assert math.isnan(EXTRAPOLATED.passes(known(64, law[:1])))


@pytest.mark.parametrize(
    "measured", [[], [batches(16, 0.7)], [batches(s, 1, folds=1) for s in (16, 32)]]
)
def test_without_two_sizes_of_two_batches_there_is_no_prediction(measured):
    found = EXTRAPOLATED.predict(known(64, measured))
    assert np.isnan([found.value, found.low, found.high, *found.further.values()]).all()


def test_a_rank_that_a_fold_lacks_is_not_predicted():
    first, second = batches(16, 0.7), batches(32, 0.7)
    second.values[1, 1] = math.nan
    found = EXTRAPOLATED.predict(known(64, [first, second]))
    assert np.isfinite(found.value[0])
    assert np.isnan([found.value[1], found.low[1], found.high[1]]).all()


def test_shifts_that_are_noise_leave_the_exponent_to_the_law_and_hold_zero():
    factors = np.array([finite_population_factor(size, NUM_EXAMPLES) for size in (16, 32)])
    wanted = finite_population_factor(64, NUM_EXAMPLES)
    found = power_law(factors, np.array([0.01, -0.02]), np.array([0.5, 0.5]), wanted, 0.7)
    assert found.exponent == pytest.approx(0.7, abs=0.05)
    assert found.low < 0 < found.high
    opposite = power_law(factors, np.array([0.4, -0.4]), np.array([0.1, 0.1]), wanted, 0.7)
    low, high = extrapolation.BOUNDS
    assert low <= opposite.exponent <= high


@pytest.mark.parametrize("distance", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("factor", [0.001, 0.3])
def test_the_expected_exponent_is_that_of_noise_that_pushes_an_eigenvalue(distance, factor):
    """With s (s + l) = f V, errors of no matter; an edge has 1/2, a far outlier 1."""
    factors = np.array([0.06, 0.06])

    def shift(factor):
        return (-distance + math.sqrt(distance**2 + 4 * factor * 50)) / 2

    measured = np.array([shift(factors[0])] * 2)
    found = extrapolation.expected_exponent(distance, factors, measured, measured / 10, factor)
    assert shift(factors[0]) * (factor / factors[0]) ** found == pytest.approx(shift(factor))
    if distance == 0:
        assert found == pytest.approx(0.5)
    if distance == 100:
        assert found == pytest.approx(1, abs=0.05)


def folds_about(shift, deviation, count, skewed, draw):
    """Rank 1 of batches whose mean shift is `shift`, with normal scatter or with a long tail."""
    noise = draw.standard_normal((count, 1))
    if skewed:
        noise = (draw.gumbel(size=(count, 1)) - np.euler_gamma) * math.sqrt(6) / math.pi
    return FULL["largest"][:1] + shift + deviation * noise


@pytest.mark.parametrize("exponent", [0.6, 0.9])
@pytest.mark.parametrize(("folds", "relative"), [(5, 0.4), (20, 2.0)])
@pytest.mark.parametrize("wanted", [16, 128])
def test_intervals_cover_the_mean_of_batches(exponent, folds, relative, wanted):
    """`relative` is the standard deviation over batches in units of the shift, at every size."""
    sizes = [size for size in (16, 32, 64) if size != wanted][: 3 if wanted > 64 else 2]
    draw, trials, held = np.random.default_rng(round(100 * exponent) + folds), 500, 0
    for trial in range(trials):
        measured = []
        for size in sizes:
            shift = shifts(size, exponent)
            values = folds_about(shift, relative * shift, folds, trial % 2, draw)
            measured.append(MeasuredBatches(size, values, 1.0))
        extreme = replace(known(wanted, measured), eigenvalues=FULL["largest"][:1])
        found = EXTRAPOLATED.predict(extreme)
        truth = FULL["largest"][0] + shifts(wanted, exponent)
        held += found.low[0] <= truth <= found.high[0]
    assert 0.88 <= held / trials <= 0.995
