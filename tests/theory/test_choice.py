"""Which prediction is trusted, and how far, before a batch is measured."""

import math
from dataclasses import replace

import numpy as np
import pytest

from truehessian.theory.predictions import PREDICTIONS, choice, subspace
from truehessian.theory.predictions.base import (
    Draws,
    Known,
    MeasuredBatches,
    Predicted,
    Prediction,
    Variance,
)
from truehessian.theory.predictions.isotropic import DIRECTIONAL_DOUBT, GOE_DOUBT
from truehessian.theory.predictions.noise import SubspaceNoise

NUM_EXAMPLES = 200
FULL = {"largest": np.array([4.0, 2.0]), "smallest": np.array([-1.5, -1.0])}


def known(end="largest", batch_size=16, along=(60.0, 30.0), leak=0.1, isotropic=1.0, folds=0):
    """Noise within four Ritz vectors, of which the share `leak` leaks, and batches of two sizes."""
    draw = np.random.default_rng(0).standard_normal((NUM_EXAMPLES // 4, 4, 4))
    variances = np.array([*along, *along])
    groups = np.sqrt(variances.max() / 8) * (draw + draw.transpose(0, 2, 1)) / 2
    leaks = np.diag(np.nan_to_num(leak * variances))
    values = np.concatenate([FULL["largest"], FULL["smallest"]])
    noise = SubspaceNoise(values, groups, leaks, 4, NUM_EXAMPLES)
    sign = 1 if end == "largest" else -1
    scatter = np.random.default_rng(1).standard_normal((folds, 2)) / 50
    measured = [
        MeasuredBatches(size, FULL[end] + sign * 40 / size + scatter, 1.0) for size in (4, 8)
    ]
    return Known(
        FULL[end],
        end,
        batch_size,
        NUM_EXAMPLES,
        1000,
        Variance(isotropic, 0.1),
        [Variance(value, 0.01 * value) for value in along],
        noise,
        Draws(2, 100, 0, 5),
        3,
        None,
        measured if folds else (),
    )


def errors_of(facts):
    """What each prediction says of itself, by name, and what is chosen of them."""
    entries = PREDICTIONS.entries()
    expected = {
        name: choice.expected_error(entry, facts, entry.predict(facts))
        for name, entry in entries.items()
    }
    return expected, *choice.chosen(facts.eigenvalues, expected)


def fixed(doubt):
    return Prediction(
        "fixed", "fixed", "o", "black", "says so", lambda facts: None, doubt=lambda facts: doubt
    )


def test_doubt_and_standard_error_add_in_squares():
    """The predicted shifts are 2 and 1, and their intervals reach 1.96 * 0.8 to either side."""
    facts = known()
    value = facts.eigenvalues + np.array([2.0, -1.0])
    predicted = Predicted(value, value - 1.96 * 0.8, value + 1.96 * 0.8)
    error = choice.expected_error(fixed(np.array([0.3, 0.6])), facts, predicted)
    np.testing.assert_allclose(error, [math.hypot(0.3, 0.4), math.hypot(0.6, 0.8)])


def test_what_does_not_predict_or_says_nothing_is_never_chosen():
    facts = known()
    nothing = choice.expected_error(fixed(np.zeros(2)), facts, Predicted.missing(2))
    assert np.isnan(nothing).all()
    silent = Prediction("silent", "silent", "o", "black", "says nothing", lambda facts: None)
    value = facts.eigenvalues + 1
    assert np.isnan(choice.expected_error(silent, facts, Predicted(value, value, value))).all()
    expected = {"silent": np.full(2, math.nan), "sure": np.array([0.5, math.nan])}
    names, errors = choice.chosen(facts.eigenvalues, expected)
    assert names == ["sure", choice.NOTHING]
    np.testing.assert_array_equal(errors, [0.5, math.nan])


def test_the_one_that_is_expected_to_miss_the_least_is_chosen():
    expected, names, errors = errors_of(known(folds=20))
    table = np.array(list(expected.values()))
    np.testing.assert_array_equal(errors, np.nanmin(table, axis=0))
    assert [list(expected)[at] for at in np.nanargmin(table, axis=0)] == names


def test_batches_of_other_sizes_are_trusted_where_they_tell_the_shift():
    clear, vague = known(folds=20), known(folds=20)
    far = np.random.default_rng(2).standard_normal((20, 2)) * 40
    vague = known(folds=20)
    for batches in vague.measured:
        batches.values[:] += far
    assert errors_of(clear)[1][0] == "extrapolated"
    assert errors_of(vague)[1][0] != "extrapolated"


@pytest.mark.parametrize("end", ["largest", "smallest"])
def test_a_subspace_that_leaks_is_trusted_less_the_deeper_the_eigenvalue_is_buried(end):
    tight, leaky = subspace.doubt(known(end, leak=0.0)), subspace.doubt(known(end, leak=0.9))
    np.testing.assert_allclose(tight, subspace.DOUBT)
    assert (leaky > tight).all()
    deeper = subspace.doubt(known(end, leak=0.9, batch_size=4))
    assert (deeper > leaky).all()
    assert (deeper <= subspace.DOUBT + subspace.LEAK_DOUBT).all()
    unknown = subspace.doubt(known(end, along=(math.nan, math.nan)))
    np.testing.assert_allclose(unknown, subspace.DOUBT + subspace.LEAK_DOUBT)


def test_noise_alike_in_all_directions_is_trusted_where_it_is_that():
    doubt = PREDICTIONS.load("goe").doubt
    np.testing.assert_allclose(doubt(known(along=(1.0, 1.0))), GOE_DOUBT)
    assert (doubt(known(along=(1e4, 1e4))) > 0.9).all()
    assert np.isnan(doubt(known(isotropic=math.nan))).all()


def test_a_buried_eigenvalue_makes_the_directional_prediction_twice_as_doubtful():
    doubt = PREDICTIONS.load("directional").doubt
    for end, least in DIRECTIONAL_DOUBT.items():
        np.testing.assert_allclose(doubt(known(end, along=(1e-9, 1e-9))), least, rtol=1e-6)
        np.testing.assert_allclose(doubt(known(end, along=(1e9, 1e9))), 2 * least, rtol=1e-6)


def test_without_noise_there_is_no_shift_to_miss():
    facts = known(batch_size=NUM_EXAMPLES)
    expected, names, errors = errors_of(facts)
    assert np.isfinite(errors).all()
    assert set(names) <= set(expected)


def test_an_interval_holds_the_doubt_beside_the_error_on_either_side():
    facts = known()
    value = FULL["largest"] + np.array([2.0, 1.0])
    predicted = Predicted(value, value - np.array([0.3, 0.4]), value + np.array([0.6, 0.0]))
    widened = choice.with_doubt(fixed(np.array([0.2, 0.5])), facts, predicted)
    # By hand: 1.96 standard errors of 0.2 of a shift of 2, and of 0.5 of a shift of 1.
    np.testing.assert_allclose(value - widened.low, np.hypot([0.3, 0.4], [0.784, 0.98]))
    np.testing.assert_allclose(widened.high - value, np.hypot([0.6, 0.0], [0.784, 0.98]))
    np.testing.assert_array_equal(widened.value, value)


def test_a_prediction_that_says_nothing_of_its_doubt_keeps_its_interval():
    facts, value = known(), np.array([5.0, 3.0])
    predicted = Predicted(value, value - 1, value + 1)
    silent = replace(fixed(np.zeros(2)), doubt=None)
    assert choice.with_doubt(silent, facts, predicted) is predicted
