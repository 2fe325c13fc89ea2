"""Densities, counts, traces and norms, with errors that are as large as they say."""

import functools

import numpy as np
import pytest
import torch
from cases import Dense

from truehessian import density, measurement, spectrum
from truehessian.spectrum import Spectrum

VALUES = np.concatenate([np.linspace(-1, 2, 55), [-4.0, -3.0, 6.0, 6.0, 15.0]])
GRID = np.linspace(-1, 2, 31)


def seen_by(probes: int, seed: int, values: np.ndarray = VALUES) -> Spectrum:
    """What normal probes see of a diagonal matrix with all steps: squared components."""
    components = np.random.default_rng(seed).normal(size=(probes, len(values))) ** 2
    weights = components / components.sum(1, keepdims=True)
    nodes = np.tile(np.sort(values), (probes, 1))
    metadata = {"num_parameters": len(values)}
    return Spectrum(nodes, weights, np.zeros_like(nodes), nodes, nodes[:, 1:], metadata)


def measured(steps: int, probes: int, values: np.ndarray = VALUES) -> Spectrum:
    operator = Dense(torch.diag(torch.from_numpy(values)))
    return measurement.measure(operator, steps=steps, probes=probes, seed=5)[0]


def kernel_mean(values: np.ndarray) -> np.ndarray:
    return spectrum.gaussian_kernel(values, GRID, 0.5).mean(0)


# What is estimated, and what it is for given eigenvalues.
QUANTITIES = {
    "trace": (density.trace, np.sum),
    "mean eigenvalue": (density.mean_eigenvalue, np.mean),
    "Frobenius norm": (density.frobenius_norm, np.linalg.norm),
    "negative weight": (density.negative_weight, lambda values: (values < 0).mean()),
    "counts": (lambda s: density.counts_below(s, [-0.5]), lambda values: [(values < -0.5).sum()]),
    "density": (lambda s: density.smoothed(s, GRID, 0.5), kernel_mean),
}


@pytest.fixture(params=QUANTITIES)
def quantity(request):
    return QUANTITIES[request.param]


def test_many_probes_find_the_truth_within_five_standard_errors(quantity):
    estimate, true = quantity
    value, error = estimate(seen_by(2000, seed=0))[:2]
    truth = true(VALUES)
    assert (np.abs(value - truth) <= 5 * error).all()
    # Errors of a few hundredths: the claim above is not empty.
    assert (error < 0.03 * np.abs(truth).max()).all()


@pytest.mark.parametrize(("probes", "one", "two"), [(1, 0.683, 0.950), (12, 0.661, 0.924)])
def test_standard_errors_cover_the_truth_as_often_as_they_should(quantity, probes, one, two):
    """Shares within 1 and 1.96 errors by the normal law, and by Student's over 12 probes.

    The eigenvalues spread evenly: where a few dominate, errors are skewed like chi-squared ones.
    """
    estimate, true = quantity
    values = np.linspace(-1, 2, 300)
    scores = []
    for seed in range(200):
        value, error = estimate(seen_by(probes, seed, values))[:2]
        scores.append(np.abs(value - true(values)) / error)
    for limit, share in ((1, one), (1.96, two)):
        uncertainty = np.sqrt(share * (1 - share) / 200)
        assert np.mean(np.array(scores) <= limit) == pytest.approx(share, abs=5 * uncertainty)


def test_error_of_one_probe_is_that_of_a_quadratic_form_on_the_sphere():
    """Var uᵀAu = 2 (P tr A² - (tr A)²) / (P² (P + 2)), where the weights are 1 / P."""
    one = seen_by(1, seed=0)
    one = one._replace(weights=np.full_like(one.weights, 1 / 60))
    variance = 2 * (60 * (VALUES**2).sum() - VALUES.sum() ** 2) / (60**2 * 62)
    assert density.mean_eigenvalue(one).standard_error == pytest.approx(np.sqrt(variance))


def test_error_of_two_probes_is_half_their_difference(quantity):
    estimate, _ = quantity
    both = seen_by(2, 0)
    if estimate is density.frobenius_norm:
        estimate = functools.partial(density.mean_of, function=np.square)
    one, other = (
        estimate(
            both._replace(
                ritz_values=both.ritz_values[[k]],
                weights=both.weights[[k]],
                residuals=both.residuals[[k]],
            )
        ).value
        for k in range(2)
    )
    assert estimate(both).standard_error == pytest.approx(np.abs(one - other) / 2)


def test_formula_for_one_probe_agrees_with_the_spread_over_many(quantity):
    """The mean of squared errors over 400 single probes is their variance to 5 errors of it."""
    estimate, _ = quantity
    singles = [estimate(seen_by(1, seed)) for seed in range(400)]
    values = np.array([single.value for single in singles])
    stated = np.mean([single.standard_error**2 for single in singles], axis=0)
    deviations = (values - values.mean(0)) ** 2
    uncertainty = deviations.std(0) / np.sqrt(400)
    assert (np.abs(deviations.mean(0) - stated) <= 5 * uncertainty + 1e-12).all()


def test_two_steps_give_the_moments_that_the_probes_have_with_all_steps():
    few, all_steps = measured(2, 3), measured(60, 3)
    for function in (density.trace, density.frobenius_norm):
        for mine, theirs in zip(function(few), function(all_steps), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-10)


def test_bounds_hold_what_the_probe_has_with_all_steps():
    """Chebyshev, Markov, Stieltjes; the plain sum is too small here and too large there."""
    places = np.linspace(-5, 16, 211)
    exact = density.mass_below(measured(60, 2), places)
    few = density.mass_below(measured(8, 2), places)
    assert (few.low <= exact.value + 1e-12).all()
    assert (exact.value <= few.high + 1e-12).all()
    assert (few.low <= few.value).all()
    assert (few.value <= few.high).all()
    assert (few.high - few.low < 1).all()
    assert not (few.value <= exact.value).all()
    assert not (few.value >= exact.value).all()


def test_exhausted_krylov_space_leaves_nothing_open():
    few = measured(10, 2, np.repeat([-1.0, 0.5, 2.0], 20))
    assert few.metadata["steps_done"] == [3, 3]
    counts = density.counts_below(few, [-2.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(counts.low, counts.value)
    np.testing.assert_array_equal(counts.high, counts.value)
    assert (np.diff(counts.value) > 0).all()
    assert counts.value[[0, -1]] == pytest.approx([0, 60])


def test_place_itself_is_not_below():
    assert density.mass_below(seen_by(1, 0, np.zeros(4)), [0.0]).value == 0


@pytest.mark.parametrize("scale", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("probes", [1, 2])
def test_multiples_of_the_identity_are_known_without_error(scale, probes):
    same = measured(4, probes, np.full(9, scale))
    assert density.trace(same) == pytest.approx((9 * scale, 0), abs=1e-12)
    assert density.frobenius_norm(same) == pytest.approx((3 * abs(scale), 0), abs=1e-12)
    sign = float(scale < 0)
    assert density.negative_weight(same) == pytest.approx((sign, 0, sign, sign), abs=1e-12)


def test_folds_keep_their_axis():
    singles = [seen_by(3, seed) for seed in range(2)]
    arrays = [np.stack(pair) for pair in zip(*(one[:5] for one in singles), strict=True)]
    stacked = Spectrum(*arrays, singles[0].metadata)
    for function, _ in QUANTITIES.values():
        for part, *parts in zip(function(stacked), *map(function, singles), strict=True):
            np.testing.assert_array_equal(part, np.stack(parts))


def test_density_is_that_of_pooled_nodes():
    both = measured(7, 2)
    nodes, weights = density.pooled(both)
    assert (np.diff(nodes) >= 0).all()
    assert weights.sum() == pytest.approx(1)
    expected = spectrum.spectral_density(nodes, weights, GRID, 0.3)
    assert density.smoothed(both, GRID, 0.3).value == pytest.approx(expected)
