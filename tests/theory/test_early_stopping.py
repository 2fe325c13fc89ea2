"""Gradient descent that ends early against the minimum with the penalty that stands for it."""

import math

import numpy as np
import pytest

from truehessian.theory import early_stopping


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_it_comes_as_far_along_each_eigenvector_as_with_the_penalty(beta):
    steps, rate = 3000, 0.02
    penalty = early_stopping.damping([rate] * steps, beta)
    values = penalty * np.logspace(-3, 2, 200)
    place, velocity = np.zeros(200), np.zeros(200)
    for _ in range(steps):
        velocity = beta * velocity + values * (place - 1)
        place = place - rate * velocity
    ridge = values / (values + penalty)
    assert np.abs(place - ridge).max() < 0.21
    ends = (values < penalty / 300) | (values > 50 * penalty)
    assert np.abs(place - ridge)[ends].max() < 0.02
    np.testing.assert_allclose(place[0] / ridge[0], 1, rtol=0.02)
    # No other penalty is much nearer to all of them.
    others = [np.abs(place - values / (values + k * penalty)).max() for k in (0.2, 5.0)]
    assert min(others) > np.abs(place - ridge).max()


def test_rates_add_up_and_without_a_step_nothing_moves():
    assert early_stopping.damping([0.1, 0.3]) == pytest.approx(2.5)
    assert early_stopping.damping([]) == math.inf
