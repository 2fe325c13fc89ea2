"""Limits of curvature against the recursions that they are limits of, and means over batches."""

import math

import numpy as np
import pytest

from truehessian.theory import stability


def heavy_ball(curvature, rate, beta, steps=3000):
    """Where torch.optim.SGD goes on a quadratic from 1."""
    place, velocity = 1.0, 0.0
    for _ in range(steps):
        velocity = beta * velocity + curvature * place
        place -= rate * velocity
    return abs(place)


def averaged(curvature, rate, beta, steps=3000):
    """Where Adam goes with a preconditioner that is fixed at 1."""
    place, velocity = 1.0, 0.0
    for _ in range(steps):
        velocity = beta * velocity + (1 - beta) * curvature * place
        place -= rate * velocity
    return abs(place)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_beyond_the_limit_of_a_quadratic_the_steps_diverge_and_below_they_converge(beta):
    limit = stability.limits(0.1, beta).large_batches
    assert heavy_ball(0.99 * limit, 0.1, beta) < 1e-6
    assert heavy_ball(1.01 * limit, 0.1, beta) > 1e6


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_limit_of_adam_is_that_of_an_averaged_velocity(beta):
    limit = stability.adam_limit(0.1, beta)
    assert averaged(0.999 * limit, 0.1, beta, 20000) < 1e-6
    assert averaged(1.001 * limit, 0.1, beta, 20000) > 1e6


def test_limits_of_the_papers():
    assert stability.adam_limit(1e-3) == pytest.approx(38 / 1e-3)
    assert stability.limits(0.1) == pytest.approx((20, 20, 20))
    assert stability.limits(0.1, 0.9) == pytest.approx((20, 2, 38))
    # Small batches see the plain limit of steps that are longer by 1 / (1 - beta).
    assert stability.limits(0.1, 0.9).small_batches == pytest.approx(
        stability.limits(0.1 / (1 - 0.9)).plain
    )


@pytest.mark.parametrize(("rate", "beta"), [(0.0, 0.9), (-1.0, 0.0), (0.1, 1.0), (0.1, -0.1)])
def test_what_is_no_rate_or_momentum_is_refused(rate, beta):
    for of in (stability.limits, stability.adam_limit):
        with pytest.raises(ValueError, match=r"learning_rate must|momentum must"):
            of(rate, beta)


def test_a_mean_has_the_standard_error_of_a_mean():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = stability.mean(values)
    assert found.value == pytest.approx(4.0)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 2)
    assert math.isnan(stability.mean(values[:1]).standard_error)


def test_a_ratio_of_means_is_off_by_as_much_as_it_says():
    """Numerators and denominators depend on each other, as curvature and norm of a gradient do."""
    draw = np.random.default_rng(4)
    errors, scaled = [], []
    for _ in range(500):
        norms = draw.gamma(2.0, size=40)
        own = norms * (3 + draw.normal(size=40)) + 0.3 * norms**2
        found = stability.ratio_of_means(own, norms)
        errors.append(found.value - (3 + 0.3 * 6 / 2))  # E norms² / E norms = 6 / 2
        scaled.append(errors[-1] / found.standard_error)
    assert abs(np.mean(errors)) < 0.02 * 4
    assert np.std(scaled) == pytest.approx(1, abs=0.12)


def test_a_ratio_of_what_goes_together_exactly_has_no_error():
    norms = np.array([1.0, 2.0, 5.0])
    assert stability.ratio_of_means(3 * norms, norms) == pytest.approx((3.0, 0.0))


def test_gradients_that_vanish_have_no_ratio_and_shapes_have_to_agree():
    assert math.isnan(stability.ratio_of_means(np.zeros(3), np.zeros(3)).value)
    with pytest.raises(ValueError, match="one number of each batch"):
        stability.ratio_of_means(np.zeros(3), np.zeros(4))
