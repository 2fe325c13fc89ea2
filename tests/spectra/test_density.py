"""Densities, counts, traces and norms, with errors that are as large as they say."""

import functools

import numpy as np
import pytest
import torch
from dense import Dense

from truehessian.measurements import source
from truehessian.spectra import density, kernel, lanczos, spectrum, stacks
from truehessian.spectra.spectrum import Spectrum

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
    return source.measure(operator, steps=steps, probes=probes, seed=5)[0]


def kernel_mean(values: np.ndarray) -> np.ndarray:
    return kernel.gaussian_kernel(values, GRID, 0.5).mean(0)


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


@pytest.mark.parametrize("steps", [3, 10])
def test_exhausted_krylov_space_leaves_nothing_open_but_rounding(steps):
    """Three distinct eigenvalues: what is found after three steps has no weight."""
    few = measured(steps, 2, np.repeat([-1.0, 0.5, 2.0], 20))
    counts = density.counts_below(few, [-2.0, 0.0, 1.0, 3.0])
    assert (np.diff(counts.value) > 0).all()
    assert counts.value[[0, -1]] == pytest.approx([0, 60])
    for bound in (counts.low, counts.high):
        np.testing.assert_allclose(bound, counts.value, atol=1e-11)
    assert (counts.low < counts.high)[1:3].all()  # nothing is known without an error


def test_places_closer_than_the_precision_are_on_no_side():
    """An eigenvalue at zero, and products that are good to 1e-3."""
    few = measured(3, 1, np.repeat([-1.0, 0.0, 2.0], 20))
    error = 1e-3
    few = few._replace(
        residuals=few.residuals + error, metadata=few.metadata | {"product_error": [error]}
    )
    at_zero, clear = density.mass_below(few, [0.0]), density.mass_below(few, [0.5])
    weight = few.weights[0, np.abs(few.ritz_values[0]) < 0.1].item()
    assert at_zero.high - at_zero.low == pytest.approx(weight, abs=0.02)
    assert at_zero.high - at_zero.low > 0.9 * weight
    assert clear.high - clear.low < 0.02


@pytest.mark.parametrize("steps", [8, 30, 60])
def test_bounds_hold_for_perturbed_matrices(steps):
    """Products with A + E: the bounds hold the mass that the probe has with A.

    Those by residuals always. Those by counting hold for A + E, whose eigenvectors are turned.
    """
    generator = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(generator.standard_normal((60, 60)))
    noise = generator.standard_normal((60, 60))
    noise = (noise + noise.T) * 0.02 / np.linalg.norm(noise + noise.T, 2)
    matrix = (rotation * VALUES) @ rotation.T
    places = np.linspace(-5, 16, 2000)
    probe = lanczos.probe_vector(60, 5, 0).numpy()
    components = (rotation.T @ probe) ** 2 / (probe @ probe)
    exact = ((VALUES[:, None] < places) * components[:, None]).sum(0)
    operator = Dense(torch.from_numpy(matrix + noise))
    seen = source.measure(operator, steps=steps, seed=5)[0]
    facts = seen.metadata | {"product_error": [0.02]}
    seen = seen._replace(residuals=seen.residuals + 0.02, metadata=facts)
    by_residuals = density._by_residuals(
        seen.ritz_values[0], seen.weights[0], places, seen.residuals[0]
    )
    both = density.mass_below(seen, places)
    for (low, high), allowed in ((by_residuals, 1e-12), ((both.low, both.high), 0.01)):
        assert (low <= exact + allowed).all()
        assert (exact <= high + allowed).all()


def handmade(nodes, weights, residual, error) -> Spectrum:
    values = np.array([nodes])
    facts = {"num_parameters": 9, "product_error": [error]}
    filled = np.full_like(values, residual)
    return Spectrum(values, np.array([weights]), filled, values, values[:, 1:], facts)


def test_two_nodes_within_the_precision_of_a_place_may_both_be_on_the_other_side():
    near = handmade([-0.005, -0.004, 1.0], [0.4, 0.4, 0.2], 0.01, 0.01)
    found = density.negative_weight(near)
    assert (found.low, found.high) == (0, pytest.approx(0.8, abs=0.03))


def test_what_was_found_after_the_krylov_space_was_exhausted_bounds_nothing():
    """Two nodes of a half each, known by counting only: below a place between them, 0 to 1."""
    found = density.mass_below(handmade([-1.0, 0.5, 2.0], [0.5, 0.0, 0.5], 9.0, 0.0), [1.0])
    assert (found.low, found.value, found.high) == (0, 0.5, 1)


def test_functions_are_asked_for_real_values_only():
    def function(values):
        assert np.isfinite(values).all()
        return values

    short = handmade([1.0, 3.0, np.nan], [0.5, 0.5, 0.0], 0.0, 0.0)
    assert density.mean_of(short, function).value == 2


def test_rows_of_different_lengths_are_read_as_far_as_they_go(quantity):
    """A probe with three nodes beside one with sixty: the mean of what each gives alone."""
    estimate, _ = quantity
    if estimate is density.frobenius_norm:
        estimate = functools.partial(density.mean_of, function=np.square)
    ones = [seen_by(1, 0, np.array([-2.0, 1.0, 3.0])), seen_by(1, 1)]
    facts = {"num_parameters": 60}
    both = Spectrum(**stacks.stacked([tuple(x[0] for x in one[:5]) for one in ones]),
                    metadata=facts)  # fmt: skip
    parts = [estimate(one._replace(metadata=facts)) for one in ones]
    together = estimate(both)
    assert together.value == pytest.approx(np.mean([part.value for part in parts], 0))
    assert np.isfinite(together.standard_error).all()
    nodes, weights = spectrum.nodes(both)
    assert len(nodes) == len(weights) == 63
    assert weights.sum() == pytest.approx(1)


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
    expected = kernel.spectral_density(nodes, weights, GRID, 0.3)
    assert density.smoothed(both, GRID, 0.3).value == pytest.approx(expected)


def two_nodes(probes: int, seed: int, values: np.ndarray) -> Spectrum:
    """Two nodes with the first two moments that normal probes see of a diagonal matrix."""
    components = np.random.default_rng(seed).normal(size=(probes, len(values))) ** 2
    weights = components / components.sum(1, keepdims=True)
    first, second = weights @ values, weights @ values**2
    spread = np.sqrt(np.maximum(second - first**2, 0))
    nodes = np.stack([first - spread, first + spread], 1)
    metadata = {"num_parameters": len(values), "product_error": [0.0] * probes}
    half = np.full_like(nodes, 0.5)
    return Spectrum(nodes, half, np.zeros_like(nodes), nodes, nodes[:, 1:], metadata)


@pytest.mark.parametrize("probes", [1, 2, 5])
@pytest.mark.parametrize(
    "values", [np.array([-1.0, 0.5, 7.0]), VALUES, np.append(np.zeros(40), 30.0)]
)
def test_the_squared_error_of_a_trace_by_moments_is_unbiased(values, probes):
    """Even of a matrix of order 3, or of one with a single eigenvalue, from one probe on."""
    found = [density.trace_by_moments(two_nodes(probes, seed, values)) for seed in range(3000)]
    traces, errors = np.array(found).T
    deviations = (traces - values.sum()) ** 2
    gap = deviations - errors**2
    assert abs(gap.mean()) < 5 * gap.std() / np.sqrt(len(gap))
    assert gap.std() / np.sqrt(len(gap)) < 0.1 * deviations.mean()  # the claim is not empty
    assert traces.mean() == pytest.approx(values.sum(), abs=5 * traces.std() / np.sqrt(len(gap)))


def test_a_trace_by_moments_varies_less_than_the_spread_over_few_probes():
    errors = [
        [estimate(two_nodes(2, seed, VALUES)).standard_error for seed in range(500)]
        for estimate in (density.trace_by_moments, density.trace)
    ]
    by_moments, by_spread = (np.std(each) / np.mean(each) for each in errors)
    assert by_moments < 0.6 * by_spread


@pytest.mark.parametrize("values", [VALUES, np.repeat([-2.0, 5.0], 6), np.ones(1)])
def test_all_steps_give_the_trace_itself(values):
    """Where eigenvalues are repeated, too."""
    found = density.trace_by_moments(measured(len(values), 2, values))
    assert found.value == pytest.approx(values.sum(), abs=1e-10)
    assert found.standard_error < 1e-9
    fewer = density.trace_by_moments(measured(len(values) - 1, 2)) if len(values) > 12 else None
    assert fewer is None or fewer.standard_error > 1


def test_a_single_step_knows_no_error_of_its_trace():
    found = density.trace_by_moments(measured(1, 2))
    assert found.value == pytest.approx(density.trace(measured(1, 2)).value)
    assert np.isnan(found.standard_error)
