import numpy as np
import pytest

from truehessian.theory.rmt import (
    DiscreteMeasure,
    FreeSum,
    MarchenkoPastur,
    Semicircle,
    SemicircularSum,
    cdf_of,
    cdf_of_density,
    density_of,
    kolmogorov_distance,
    outlier,
)
from truehessian.theory.rmt.fixed_point import solve_fixed_point

ZERO = DiscreteMeasure([0.0], [1.0])
COIN = DiscreteMeasure([-1.0, 1.0], [0.5, 0.5])


def measured_like(seed=0, num=60):
    """Ritz values and weights as they come out: a crowd at 0, a tail, light nodes."""
    generator = np.random.default_rng(seed)
    nodes = np.concatenate([0.1 * generator.standard_normal(num), [1.5, 2.0, 4.0, -0.9]])
    weights = np.concatenate([generator.random(num) ** 3, [0.8, 0.4, 0.02, 1e-6]])
    return DiscreteMeasure(nodes, weights / weights.sum())


def orthogonal(order, generator):
    rotation, triangle = np.linalg.qr(generator.standard_normal((order, order)))
    return rotation * np.sign(np.diag(triangle))


def gaussian_orthogonal(order, scale, generator):
    gaussian = generator.standard_normal((order, order))
    return (gaussian + gaussian.T) * (scale / np.sqrt(2 * order))


@pytest.mark.parametrize("place", [0.0, -3.5])
def test_point_plus_semicircle_is_the_shifted_semicircle(place):
    law = SemicircularSum(DiscreteMeasure([place], [1.0]), 1.3)
    expected = Semicircle(place, 1.3)
    x = np.linspace(place - 3, place + 3, 201)
    np.testing.assert_allclose(law.support, [expected.edges], rtol=1e-14)
    np.testing.assert_allclose(law.density(x), expected.density(x), atol=1e-14)
    np.testing.assert_allclose(law.cdf(x), expected.cdf(x), atol=1e-14)
    for z in (x + 0.1j, x - 1e-5j, np.array([place - 3, place + 2.7])):
        np.testing.assert_allclose(law.stieltjes(z), expected.stieltjes(z), rtol=1e-9)


def test_semicircles_add_their_variances():
    total = Semicircle(1.0, np.hypot(0.6, 0.8))
    law = FreeSum(Semicircle(0.7, 0.6), Semicircle(0.3, 0.8))
    assert law.edges == pytest.approx(total.edges, abs=1e-9)
    x = np.linspace(-2, 4, 301)
    assert kolmogorov_distance(law, total, x) < 1e-7
    np.testing.assert_allclose(law.density(x), total.density(x), atol=1e-4)
    # The same in two steps, from the coin's law: A + X + Y with X + Y of variance 1.
    twice = FreeSum(SemicircularSum(COIN, 0.6), Semicircle(0, 0.8))
    assert kolmogorov_distance(twice, SemicircularSum(COIN, 1.0), x[::30]) < 1e-7


def test_two_free_coins_have_the_arcsine_law():
    law = FreeSum(COIN, COIN)
    assert law.edges == pytest.approx((-2, 2), abs=1e-12)
    x = np.linspace(-1.999, 1.999, 801)
    np.testing.assert_allclose(law.cdf(x), 0.5 + np.arcsin(x / 2) / np.pi, atol=1e-6)
    np.testing.assert_allclose(law.density(x), 1 / (np.pi * np.sqrt(4 - x**2)), rtol=1e-5)
    np.testing.assert_array_equal(law.cdf([-2.1, 2.1, -np.inf, np.inf]), [0, 1, 0, 1])


@pytest.mark.parametrize(("rates", "jump"), [((0.5, 1.2), 2.0), ((0.2, 0.3), 1.5)])
def test_free_poisson_laws_add_their_rates(rates, jump):
    """Marchenko-Pastur by its R transform, rate · jump / (1 - jump w); atom 1 - rate below 1."""

    def poisson(rate):
        return MarchenkoPastur(1 / rate, rate * jump)

    law, total = FreeSum(*(poisson(rate) for rate in rates)), poisson(sum(rates))
    grid = np.linspace(-1, 12, 651)
    np.testing.assert_allclose(law.atoms[1], total.atoms[1])
    assert law.edges[1] == pytest.approx(total.edges[1], rel=1e-9)
    assert kolmogorov_distance(law, total, grid) < 1e-6
    np.testing.assert_allclose(law.density(grid), total.density(grid), atol=1e-5)


def test_points_add_up():
    law = FreeSum(ZERO, DiscreteMeasure([1.5], [1.0]))
    np.testing.assert_allclose(law.atoms, [[1.5], [1.0]])
    np.testing.assert_array_equal(law.cdf([1.4, 1.5, 2.0]), [0, 1, 1])
    assert law.edges == (1.5, 1.5)
    np.testing.assert_array_equal(law.density([1.4, 1.6]), 0)


def test_heavy_atoms_survive_the_free_sum_with_their_excess():
    heavy = DiscreteMeasure([0.0, 1.0], [0.7, 0.3])
    law = FreeSum(heavy, DiscreteMeasure([0.0, 2.0], [0.9, 0.1]))
    np.testing.assert_allclose(law.atoms[0], [0, 1])
    np.testing.assert_allclose(law.atoms[1], [0.6, 0.2])
    below = np.nextafter(law.atoms[0], -1)
    jumps = law.cdf(law.atoms[0]) - law.cdf(below)
    np.testing.assert_allclose(jumps, law.atoms[1], atol=1e-6)
    x = np.linspace(-0.5, 3.5, 4001)
    continuous = cdf_of_density(law.density(x), x)[-1]
    assert continuous + law.atoms[1].sum() == pytest.approx(1, abs=1e-4)


def test_both_ways_to_add_a_semicircle_agree():
    bulk = measured_like()
    exact, general = SemicircularSum(bulk, 0.2), FreeSum(bulk, Semicircle(0, 0.2))
    assert general.edges == pytest.approx(exact.edges, abs=1e-8)
    grid = np.linspace(-2, 5, 701)
    assert kolmogorov_distance(exact, general, grid) < 1e-6
    swapped = FreeSum(Semicircle(0, 0.2), bulk)
    assert kolmogorov_distance(exact, swapped, grid) < 1e-6
    z = grid + 0.01j
    np.testing.assert_allclose(exact.stieltjes(z), general.stieltjes(z), rtol=1e-9)
    np.testing.assert_allclose(exact.stieltjes(z.conj()), general.stieltjes(z).conj(), rtol=1e-9)
    np.testing.assert_allclose(exact.log_potential(z), general.log_potential(z), atol=1e-9)


@pytest.mark.parametrize("law", [SemicircularSum(COIN, 0.4), FreeSum(COIN, MarchenkoPastur(0.5))])
def test_transforms_of_a_sum_satisfy_their_defining_equations(law):
    z = np.array([0.3 + 0.5j, -1 + 1e-3j, 2 - 0.2j, 9j])
    step = 1e-5
    slope = (law.stieltjes(z + step) - law.stieltjes(z - step)) / (2 * step)
    np.testing.assert_allclose(law.stieltjes_derivative(z), slope, rtol=1e-4)
    upper = z[z.imag > 0]
    slope = (law.log_potential(upper + step) - law.log_potential(upper - step)) / (2 * step)
    np.testing.assert_allclose(law.stieltjes(upper), slope, rtol=1e-4)
    far = np.array([1e8j])
    np.testing.assert_allclose(law.stieltjes(far) * far, 1, rtol=1e-7)


@pytest.mark.parametrize("scale", [0.01, 0.3, 2.0])
def test_bands_hold_the_mass_of_their_nodes(scale):
    bulk = measured_like()
    law = SemicircularSum(bulk, scale)
    assert np.all(law.support[:, 0] < law.support[:, 1])
    assert np.all(law.support[1:, 0] > law.support[:-1, 1])
    held = law.cdf(law.support[:, 1]) - law.cdf(law.support[:, 0])
    for (start, end), mass in zip(law.hidden, held, strict=True):
        inside = (bulk.nodes >= start) & (bulk.nodes <= end)
        assert mass == pytest.approx(bulk.weights[inside].sum(), abs=1e-9)
    for start, end in law.support:  # the density integrates to the distribution function
        x = start + (end - start) * (1 - np.cos(np.linspace(0, np.pi, 1001))) / 2
        mass = cdf_of_density(law.density(x), x)
        np.testing.assert_allclose(mass, law.cdf(x) - law.cdf(start), atol=5e-5)
        assert law.density((start, end)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("scale", [0.02, 0.1, 0.4])
def test_gaps_open_exactly_where_the_noise_does_not_fill_them(scale):
    """Between neighbouring nodes, where ∫ dμ/(u - λ)² falls below 1/scale², here on a grid."""
    generator = np.random.default_rng(6)
    weights = generator.random(40) ** 8
    bulk = DiscreteMeasure(generator.uniform(-1, 1, 40), weights / weights.sum())
    fractions = (np.arange(2000) + 0.5) / 2000
    u = bulk.nodes[:-1, None] + np.diff(bulk.nodes)[:, None] * fractions
    open_ = (-bulk.stieltjes_derivative(u) < scale**-2).any(axis=1)
    assert len(SemicircularSum(bulk, scale).support) == open_.sum() + 1


def test_node_of_next_to_no_weight_is_a_band_of_its_own():
    law = SemicircularSum(DiscreteMeasure([0.0, 1.0], [1.0, 1e-60]), 0.01)
    np.testing.assert_allclose(law.hidden, [[-0.01, 0.01], [1, 1]], rtol=1e-6)
    law = SemicircularSum(DiscreteMeasure([0.0, 1.0], [1e-60, 1.0]), 0.01)
    np.testing.assert_allclose(law.hidden, [[0, 0], [0.99, 1.01]], rtol=1e-6, atol=1e-12)


def test_boundary_values_are_the_limit_from_above():
    law = SemicircularSum(measured_like(), 0.3)
    x = np.linspace(*law.edges, 41)[1:-1]
    near = density_of(law.stieltjes, x, 1e-9)
    np.testing.assert_allclose(law.density(x), near, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(law.cdf(x), cdf_of(law.log_potential, x, 1e-10), atol=1e-7)
    np.testing.assert_allclose(law.stieltjes(x + 0j).imag, -np.pi * law.density(x), atol=1e-12)
    outside = np.array([law.edges[0] - 0.5, law.edges[1] + 1e-3])
    real = law.stieltjes(outside)
    assert real.dtype == np.float64
    np.testing.assert_allclose(law.stieltjes(outside + 1e-12j), real, rtol=1e-6)
    with pytest.raises(ValueError, match="imaginary"):
        law.stieltjes(x)


def test_noiseless_sum_is_the_bulk():
    law = SemicircularSum(COIN, 0.0)
    np.testing.assert_array_equal(law.support, [[-1, -1], [1, 1]])
    np.testing.assert_array_equal(law.cdf([-2, -1, 0, 1]), [0, 0.5, 0.5, 1])
    np.testing.assert_array_equal(law.atoms, COIN.atoms)
    np.testing.assert_array_equal(law.stieltjes([2.0, 3.0]), COIN.stieltjes([2.0, 3.0]))
    z = np.array([0.3 + 0.2j])
    np.testing.assert_array_equal(law.log_potential(z), COIN.log_potential(z))
    with pytest.raises(ValueError, match="scale"):
        law.density(0.0)
    with pytest.raises(ValueError, match="scale"):
        SemicircularSum(COIN, -1.0)


def test_far_nodes_and_vanishing_weights_stay_narrow_bands_in_place():
    """Beside a far node of weight w the band is a semicircle of scale √w · scale."""
    weight = 1e-8
    bulk = DiscreteMeasure([0.0, 1e9, -50.0], [1 - weight - 1e-30, weight, 1e-30])
    law = SemicircularSum(bulk, 0.5)
    assert len(law.support) == 3
    half = (law.support[2, 1] - law.support[2, 0]) / 2
    assert half == pytest.approx(2 * 0.5 * np.sqrt(weight), rel=1e-2)
    assert law.support[0].mean() == pytest.approx(outlier(-50.0, 0.5), rel=1e-12)
    x = np.concatenate([law.support.ravel(), [-1e300, 1e300, np.nan, np.inf, -np.inf, 0.0]])
    density, mass = law.density(x), law.cdf(x)
    assert np.isnan(density[8])
    assert np.isnan(mass[8])
    assert np.isfinite(np.delete(density, 8)).all()
    np.testing.assert_array_equal(mass[[6, 7, 9, 10]], [0, 1, 1, 0])


@pytest.mark.parametrize("magnitude", [0.0, 1e4])
def test_fixed_points_are_found_as_far_as_rounding_lets_them(magnitude):
    """The semicircle's equation ω = z - 1/ω, with the rounding of a larger number."""
    z = np.array([0.3 + 1e-7j, 1.9 + 0.2j, -2.5 + 1e-3j, np.nan])

    def step(w, z):
        return (z - 1 / w + magnitude) - magnitude, w**-2.0

    omega = solve_fixed_point(step, z, 1.0)
    expected = 1 / Semicircle(0, 1).stieltjes(z[:3])
    np.testing.assert_allclose(omega[:3], expected, rtol=1e-13 + 1e-14 * magnitude)
    assert np.isnan(omega[3])


def test_map_without_a_fixed_point_is_an_error():
    def drift(w, z):
        return 1.5 * w, np.full_like(w, 1.5)

    with pytest.raises(RuntimeError, match="did not converge at 1 of 1"):
        solve_fixed_point(drift, np.array([1j]), 1.0)


def test_free_sums_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="offset"):
        FreeSum(COIN, COIN, offset=0)
    with pytest.raises(ValueError, match="imaginary"):
        FreeSum(COIN, COIN).stieltjes(1.0)
    law = FreeSum(COIN, COIN)
    assert np.isnan(law.density([np.nan, 0.0])[0])
    assert np.isnan(law.cdf(np.nan))


@pytest.mark.parametrize("kind", ["coin", "measured"])
def test_simulated_sum_with_noise_is_within_one_percent(kind):
    order, scale = 1000, 0.5
    generator = np.random.default_rng(1)
    bulk = {"coin": COIN, "measured": measured_like()}[kind]
    probability = (np.arange(order) + 0.5) / order
    nodes = bulk.nodes[np.searchsorted(np.cumsum(bulk.weights), probability)]
    total = gaussian_orthogonal(order, scale, generator)
    total[np.diag_indices(order)] += nodes
    simulated = DiscreteMeasure.of_eigenvalues(np.linalg.eigvalsh(total))
    assert kolmogorov_distance(simulated, SemicircularSum(bulk, scale)) < 0.01
    assert kolmogorov_distance(simulated, SemicircularSum(bulk, 1.1 * scale)) > 0.01


def test_simulated_sum_of_two_rotated_diagonal_matrices_is_within_one_percent():
    order = 1000
    generator = np.random.default_rng(2)
    first = np.where(np.arange(order) < 0.3 * order, -1.0, 1.5)
    second = generator.choice([0.0, 0.5, 3.0], order)
    rotation = orthogonal(order, generator)
    total = (rotation * second) @ rotation.T
    total[np.diag_indices(order)] += first
    values = np.linalg.eigvalsh(total)
    simulated = DiscreteMeasure.of_eigenvalues(values.round(9))  # repeated ones become equal
    summands = [DiscreteMeasure.of_eigenvalues(values) for values in (first, second)]
    law = FreeSum(*summands)
    assert kolmogorov_distance(simulated, law) < 0.01
    assert simulated.edges == pytest.approx(law.edges, abs=0.03)
    # Independent instead of free: the classical convolution is far off.
    classical = DiscreteMeasure.of_eigenvalues(np.add.outer(first, second))
    assert kolmogorov_distance(simulated, classical) > 0.1
