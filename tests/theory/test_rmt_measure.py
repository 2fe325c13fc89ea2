import subprocess
import sys

import numpy as np
import pytest

from truehessian.theory.rmt import (
    DiscreteMeasure,
    MarchenkoPastur,
    Semicircle,
    cdf_of,
    cdf_of_density,
    density_of,
    kolmogorov_distance,
)

MEASURE = DiscreteMeasure([2.0, -1.0, 0.5], [0.2, 0.5, 0.3])


def test_library_of_laws_stands_alone():
    """No PyTorch, no pandas, no plotting, and nothing else of the package."""
    code = (
        "import sys, truehessian.theory.rmt; "
        "print(*sorted(m for m in sys.modules if m.split('.')[0] in {'truehessian', 'torch', "
        "'pandas', 'matplotlib', 'seaborn', 'sklearn'} and 'theory.rmt' not in m))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.split() == ["truehessian", "truehessian.theory"], output.stderr


def test_nodes_are_sorted_merged_and_freed_of_empty_ones():
    measure = DiscreteMeasure([3.0, 1.0, 3.0, 9.0], [0.25, 0.5, 0.25, 0.0])
    np.testing.assert_array_equal(measure.nodes, [1, 3])
    np.testing.assert_array_equal(measure.weights, [0.5, 0.5])
    assert measure.edges == (1.0, 3.0)
    spectrum = DiscreteMeasure.of_eigenvalues([[2.0, 1.0], [2.0, 4.0]])
    np.testing.assert_array_equal(spectrum.weights, [0.25, 0.5, 0.25])


@pytest.mark.parametrize(
    ("nodes", "weights", "message"),
    [
        ([1.0, 2.0], [1.0], "shape"),
        ([[1.0]], [[1.0]], "shape"),
        ([1.0, np.nan], [0.5, 0.5], "finite"),
        ([1.0, 2.0], [1.5, -0.5], "negative"),
        ([1.0, 2.0], [0.5, 0.4], "sum"),
        ([], [], "sum"),
    ],
)
def test_impossible_measures_are_refused(nodes, weights, message):
    with pytest.raises(ValueError, match=message):
        DiscreteMeasure(nodes, weights)


def test_distribution_function_is_a_staircase_continuous_from_the_right():
    x = np.array([-np.inf, -1.1, -1, 0.5, np.nextafter(0.5, 0), 2, np.inf, np.nan])
    np.testing.assert_allclose(MEASURE.cdf(x), [0, 0, 0.5, 0.8, 0.5, 1, 1, np.nan])


def test_moments_are_weighted_powers():
    assert MEASURE.moment(0) == pytest.approx(1)
    assert MEASURE.moment(3) == pytest.approx(0.2 * 8 - 0.5 + 0.3 / 8)
    with pytest.raises(ValueError, match="order"):
        MEASURE.moment(-1)


def test_transforms_are_sums_over_the_nodes_also_in_several_blocks():
    generator = np.random.default_rng(0)
    measure = DiscreteMeasure.of_eigenvalues(generator.standard_normal(3000))
    z = generator.standard_normal((40, 20)) + 0.1j
    for place in [(0, 0), (13, 7), (39, 19)]:
        difference = z[place] - measure.nodes
        assert measure.stieltjes(z)[place] == pytest.approx(np.mean(1 / difference))
        assert measure.stieltjes_derivative(z)[place] == pytest.approx(-np.mean(difference**-2))
        assert measure.log_potential(z)[place] == pytest.approx(np.mean(np.log(difference)))
    assert measure.stieltjes(np.empty(0)).shape == (0,)
    with pytest.raises(ValueError, match="node"):
        MEASURE.stieltjes([0.0, 0.5])


def test_r_transform_inverts_the_stieltjes_transform_outside_the_nodes():
    z = np.array([-1e6, -30.0, -1.001, 2.001, 2.5, 1e5])
    w = MEASURE.stieltjes(z)
    np.testing.assert_allclose(MEASURE.blue(w), z, rtol=1e-9)
    assert MEASURE.r_transform(0.0) == pytest.approx(MEASURE.moment(1))
    variance = MEASURE.moment(2) - MEASURE.moment(1) ** 2
    assert MEASURE.r_derivative(0.0) == pytest.approx(variance)
    tiny = 1e-9  # R(w) = mean + variance w + ..., no 1/w to cancel
    assert MEASURE.r_transform(tiny) == pytest.approx(
        MEASURE.moment(1) + variance * tiny, rel=1e-13
    )
    slope = (MEASURE.r_transform(w + 1e-6) - MEASURE.r_transform(w - 1e-6)) / 2e-6
    np.testing.assert_allclose(MEASURE.r_derivative(w), slope, rtol=1e-4)
    assert np.isnan(MEASURE.r_transform(np.nan))


def test_rank_one_matrix_has_the_r_transform_of_its_leading_order():
    """R(w) = θ / (P (1 - θ w)) + O(1/P²) for one eigenvalue θ among P."""
    order, spike, w = 10**6, 2.0, np.array([-3.0, 0.1, 0.4])
    measure = DiscreteMeasure([0.0, spike], [1 - 1 / order, 1 / order])
    expected = spike / (order * (1 - spike * w))
    np.testing.assert_allclose(measure.r_transform(w), expected, rtol=1e-4)


def test_many_rare_free_summands_have_a_marchenko_pastur_law():
    """The free Poisson limit: n R of (1 - r/n) δ_0 + (r/n) δ_a tends to r a / (1 - a w)."""
    rate, jump, many = 0.4, 2.0, 10**7
    rare = DiscreteMeasure([0.0, jump], [1 - rate / many, rate / many])
    law = MarchenkoPastur(1 / rate, rate * jump)
    w = np.array([-2.0, -0.3, 0.0, 0.2, 0.45])
    np.testing.assert_allclose(many * rare.r_transform(w), law.r_transform(w), rtol=1e-5)


@pytest.mark.parametrize("law", [Semicircle(0.5, 2.0), MarchenkoPastur(0.3), MarchenkoPastur(2.0)])
def test_inversion_recovers_density_and_distribution_function(law):
    left, right = law.edges
    grid = np.linspace(left, right, 101)[3:-3]
    density = density_of(law.stieltjes, grid, 1e-7)
    np.testing.assert_allclose(density, law.density(grid), rtol=1e-5)
    np.testing.assert_allclose(cdf_of(law.log_potential, grid, 1e-9), law.cdf(grid), atol=1e-7)
    for invert in (density_of, cdf_of):
        with pytest.raises(ValueError, match="offset"):
            invert(law.stieltjes, grid, 0.0)


def test_integrated_density_is_the_distribution_function():
    law = Semicircle(0.5, 2.0)
    grid = np.linspace(*law.edges, 4001)
    np.testing.assert_allclose(cdf_of_density(law.density(grid), grid), law.cdf(grid), atol=1e-5)


def test_kolmogorov_distance_counts_both_sides_of_a_jump():
    uniform = DiscreteMeasure.of_eigenvalues(np.arange(4.0))
    assert kolmogorov_distance(uniform, uniform) == 0
    shifted = DiscreteMeasure.of_eigenvalues(np.arange(4.0) + 0.5)
    assert kolmogorov_distance(uniform, shifted) == pytest.approx(0.25)
    point = DiscreteMeasure([0.0], [1.0])
    for centre in (-0.5, 0.5):  # more of the semicircle lies on the left, or on the right
        law = Semicircle(centre, 1)
        expected = max(law.cdf(0.0), 1 - law.cdf(0.0))
        assert kolmogorov_distance(point, law) == pytest.approx(expected)
    assert kolmogorov_distance(Semicircle(0, 1), DiscreteMeasure([-5.0], [1.0])) == 1


def test_two_continuous_laws_are_compared_on_a_grid():
    first, second = Semicircle(0, 1), Semicircle(0.1, 1)
    grid = np.linspace(-3, 3, 2001)
    distance = kolmogorov_distance(first, second, grid)
    assert distance == pytest.approx(0.1 * first.density(0.05), rel=1e-2)
    with pytest.raises(ValueError, match="grid"):
        kolmogorov_distance(first, second)


def test_quantiles_as_nodes_come_within_half_a_step():
    law, num = MarchenkoPastur(0.5), 50
    nodes = law.quantile((np.arange(num) + 0.5) / num)
    distance = kolmogorov_distance(DiscreteMeasure.of_eigenvalues(nodes), law)
    assert distance == pytest.approx(0.5 / num, rel=1e-6)
