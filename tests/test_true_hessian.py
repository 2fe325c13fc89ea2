import math

import numpy as np
import pytest

from truehessian import prediction, true_hessian


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
