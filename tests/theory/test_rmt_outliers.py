import numpy as np
import pytest
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import eigsh

from truehessian.theory import rmt
from truehessian.theory.rmt import DiscreteMeasure, MarchenkoPastur, Semicircle, SemicircularSum

ZERO = DiscreteMeasure([0.0], [1.0])
BULK = DiscreteMeasure([-1.0, 0.0, 2.0], [0.3, 0.5, 0.2])
SCALE, DRAWS = 0.7, 20
TRACY_WIDOM_MEAN = -1.2065335745820  # of the orthogonal class; its standard deviation is 1.268


def standard_errors(samples, expected):
    """Deviation of the mean over draws, the first axis, in its standard errors."""
    error = samples.std(0, ddof=1) / np.sqrt(len(samples))
    return np.abs(samples.mean(0) - expected) / error


def gaussian_orthogonal(order, scale, generator):
    gaussian = generator.standard_normal((order, order))
    return (gaussian + gaussian.T) * (scale / np.sqrt(2 * order))


def edge_fluctuation(law, order):
    """Scale of the largest eigenvalue's Tracy-Widom fluctuation at the right edge.

    Beyond its threshold u the edge is quadratic in u, with curvature 2 scale² ∫ dμ / (u - λ)³.
    """
    threshold = law.hidden[-1, 1]
    curvature = 2 * law.scale**2 * (law.bulk.weights @ (threshold - law.bulk.nodes) ** -3.0)
    return (curvature * law.scale**4 / 2) ** (1 / 3) * order ** (-2 / 3)


def test_noise_around_zero_is_the_spiked_semicircle():
    law = SemicircularSum(ZERO, SCALE)
    spikes = np.array([-9.0, -SCALE, -0.5, 0.0, 0.1, SCALE * 1.01, 2.0, np.nan])
    np.testing.assert_allclose(law.hidden, [[-SCALE, SCALE]], rtol=1e-14)
    np.testing.assert_allclose(law.outlier(spikes), rmt.outlier(spikes, SCALE), rtol=1e-12)
    np.testing.assert_allclose(law.overlap(spikes), rmt.overlap(spikes, SCALE), atol=1e-12)
    places = np.array([-5.0, -1.41, 0.3, 2 * SCALE, 1.45, 8.0, np.nan])
    expected = rmt.spike_of_outlier(places, SCALE)
    np.testing.assert_allclose(law.spike_of_outlier(places), expected, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.05, SCALE, 3.0])
def test_outliers_leave_the_bands_where_the_overlap_vanishes(scale):
    law = SemicircularSum(BULK, scale)
    np.testing.assert_allclose(law.outlier(law.hidden[-1, 1] + 1e-9), law.edges[1], rtol=1e-12)
    np.testing.assert_allclose(law.outlier(law.hidden[0, 0] - 1e-9), law.edges[0], rtol=1e-12)
    beside = law.hidden + 1e-7 * np.array([-1, 1])
    np.testing.assert_allclose(law.outlier(beside), law.support, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(law.overlap(beside), 0, atol=1e-4)
    assert np.all(law.overlap(beside) > 0)
    np.testing.assert_array_equal(law.overlap(law.hidden), 0)


def test_spike_is_recovered_from_its_outlier_also_in_a_gap():
    law = SemicircularSum(BULK, 0.3)
    assert len(law.support) == 3
    spikes = np.array([-40.0, -1.5, 0.8, 1.0, 2.4, 1e6])
    np.testing.assert_allclose(law.spike_of_outlier(law.outlier(spikes)), spikes, rtol=1e-9)
    inside = np.array([*law.support.ravel(), *law.support.mean(1)])
    assert np.isnan(law.spike_of_outlier(inside)).all()


def test_hidden_spikes_stick_to_the_edge_beyond_all_nodes_of_their_band():
    law = SemicircularSum(BULK, 0.6)  # one band over -1 and 0, one over 2
    assert len(law.hidden) == 2
    (left, right), (far_left, far_right) = law.support
    np.testing.assert_array_equal(law.outlier([-1.01, -1.0, 0.0, 0.01]), [left, left, right, right])
    np.testing.assert_array_equal(law.outlier([1.99, 2.0, 2.01]), [far_left, far_right, far_right])
    assert np.isnan(law.outlier(-0.5))  # lost between the nodes
    assert law.overlap(-0.5) == 0


def test_slope_of_the_outlier_is_the_overlap():
    step = 1e-6
    spikes = np.array([-3.0, 0.9, 3.5])
    law, noise = SemicircularSum(BULK, 0.3), MarchenkoPastur(0.4, 0.2)
    slope = (law.outlier(spikes + step) - law.outlier(spikes - step)) / (2 * step)
    np.testing.assert_allclose(law.overlap(spikes), slope, rtol=1e-7)
    places = [rmt.deformed_outlier(spikes + shift, BULK, noise) for shift in (step, -step)]
    slope = (places[0] - places[1]) / (2 * step)
    np.testing.assert_allclose(rmt.deformed_overlap(spikes, BULK, noise), slope, rtol=1e-7)


@pytest.mark.parametrize("bulk", [ZERO, BULK, Semicircle(0.5, 0.2)])
def test_any_free_noise_includes_semicircular_noise(bulk):
    spikes = np.array([-4.0, 2.5, 9.0])
    noise = Semicircle(0.25, 0.4)
    place = rmt.deformed_outlier(spikes, bulk, noise)
    overlap = rmt.deformed_overlap(spikes, bulk, noise)
    if isinstance(bulk, DiscreteMeasure):
        law = SemicircularSum(bulk, 0.4)
        np.testing.assert_allclose(place, law.outlier(spikes) + 0.25, rtol=1e-12)
        np.testing.assert_allclose(overlap, law.overlap(spikes), rtol=1e-12)
    else:  # semicircular in two portions
        total = SemicircularSum(DiscreteMeasure([0.5], [1.0]), np.hypot(0.2, 0.4))
        first = SemicircularSum(DiscreteMeasure([0.5], [1.0]), 0.2)
        np.testing.assert_allclose(
            rmt.deformed_outlier(first.outlier(spikes), bulk, noise), total.outlier(spikes) + 0.25
        )
        product = overlap * first.overlap(first.spike_of_outlier(spikes))
        np.testing.assert_allclose(product, total.overlap(first.spike_of_outlier(spikes)))


@pytest.mark.parametrize("noise", [MarchenkoPastur(0.3, 2.0), MarchenkoPastur(2.5, 0.8)])
def test_outlier_of_a_low_rank_matrix_plus_wishart_noise_solves_its_equation(noise):
    """g(outlier) = 1/θ and overlap -1/(θ² g'(outlier)), off variance (ratio ± √ratio)."""
    thresholds = noise.variance * (noise.ratio + np.sqrt(noise.ratio) * np.array([-1, 1]))
    spikes = np.array([-3.0, thresholds[0] - 0.01, thresholds[1] + 0.01, 9.0])
    places = rmt.deformed_outlier(spikes, ZERO, noise)
    np.testing.assert_allclose(noise.stieltjes(places), 1 / spikes, rtol=1e-5)
    overlap = -1 / (spikes**2 * noise.stieltjes_derivative(places))
    np.testing.assert_allclose(rmt.deformed_overlap(spikes, ZERO, noise), overlap, rtol=1e-4)
    edges = rmt.deformed_outlier(thresholds + np.array([-1e-9, 1e-9]), ZERO, noise)
    np.testing.assert_allclose(edges, noise.edges, rtol=1e-6)
    hidden = thresholds + np.array([0.01, -0.01])
    assert np.isnan(rmt.deformed_outlier(hidden, ZERO, noise)).all()
    np.testing.assert_array_equal(rmt.deformed_overlap(hidden, ZERO, noise), 0)
    assert np.isnan(rmt.deformed_overlap(np.nan, ZERO, noise))


def test_covariance_spikes_leave_the_edges_at_their_thresholds():
    noise = MarchenkoPastur(0.3, 2.0)
    low, high = rmt.covariance_threshold(noise)
    spikes = np.array([low - 1e-7, low, noise.variance, high, high + 1e-7, np.nan])
    left, right = noise.edges
    places = rmt.covariance_outlier(spikes, noise)
    np.testing.assert_allclose(places, [left, left, right, right, right, np.nan], rtol=1e-9)
    np.testing.assert_allclose(
        rmt.covariance_overlap(spikes, noise), [0, 0, 0, 0, 0, np.nan], atol=1e-6
    )
    far = 1e9
    assert rmt.covariance_outlier(far, noise) == pytest.approx(far + 0.3 * 2.0)
    assert rmt.covariance_overlap(far, noise) == pytest.approx(1)
    with pytest.raises(ValueError, match="spike"):
        rmt.covariance_outlier([1.0, 0.0], noise)


def test_simulated_transition_of_order_2000_is_where_predicted():
    """Householder's reduction leaves a spike along the first axis in place: tridiagonal matrices.

    Trotter (1984), Advances in Mathematics 54(1), 67-82.
    """
    order, generator = 2000, np.random.default_rng(3)
    spikes = SCALE * np.array([0.0, 0.4, 1.5, 2.0, 4.0])
    values, overlaps = np.empty((DRAWS, 5)), np.empty((DRAWS, 5))
    for draw in range(DRAWS):
        for column, spike in enumerate(spikes):
            diagonal = generator.normal(0, SCALE * np.sqrt(2 / order), order)
            off_diagonal = np.sqrt(generator.chisquare(np.arange(order - 1, 0, -1)) / order) * SCALE
            diagonal[0] += spike
            value, vector = eigh_tridiagonal(
                diagonal, off_diagonal, select="i", select_range=(order - 1, order - 1)
            )
            values[draw, column], overlaps[draw, column] = value[0], vector[0, 0] ** 2
    expected = rmt.outlier(spikes, SCALE)
    expected[:2] += TRACY_WIDOM_MEAN * SCALE * order ** (-2 / 3)
    assert np.all(standard_errors(values, expected) < 3)
    assert np.all(standard_errors(overlaps[:, 2:], rmt.overlap(spikes[2:], SCALE)) < 3)
    assert np.all(overlaps[:, :2].mean(0) < 5 * order ** (-2 / 3))
    # Where the overlap vanishes: θ² (1 - overlap) estimates the threshold's square.
    threshold = np.sqrt(spikes[2:] ** 2 * (1 - overlaps[:, 2:]))
    assert np.all(standard_errors(threshold, rmt.bbp_threshold(SCALE)) < 3)


def spiked_draws(law, order, spikes, generator):
    """Extreme eigenvalues and overlaps of draws of diagonal matrix plus noise; spikes descend."""
    count = len(spikes)
    bulk, weights = law.bulk.nodes, law.bulk.weights
    probability = (np.arange(order - count) + 0.5) / (order - count)
    nodes = bulk[np.minimum(np.searchsorted(np.cumsum(weights), probability), len(bulk) - 1)]
    values, overlaps = [], []
    for _ in range(DRAWS):
        matrix = gaussian_orthogonal(order, law.scale, generator)
        matrix[np.diag_indices(order)] += np.concatenate([spikes, nodes])
        start = generator.standard_normal(order)
        value, vector = eigsh(matrix, k=2 * count + 2, which="BE", v0=start, tol=1e-9)
        chosen = np.concatenate([np.arange(len(value) - 1, count, -1), np.arange(count + 1)])
        values.append(value[chosen])
        overlaps.append(vector[:count, chosen] ** 2)
    return np.array(values), np.array(overlaps)


def check_spiked_draws(law, order, generator):
    """Two outliers above, one below, one hidden spike: places, overlaps, right edge, threshold."""
    hidden = (law.bulk.nodes[-1] + law.hidden[-1, 1]) / 2
    spikes = np.array(
        [law.hidden[-1, 1] + 3, law.hidden[-1, 1] + 1, law.hidden[0, 0] - 1.5, hidden]
    )
    values, overlaps = spiked_draws(law, order, spikes, generator)
    shown, position = spikes[:3], [0, 1, len(spikes) + 1]
    places = standard_errors(values[:, position], law.outlier(shown))
    squared = overlaps[:, range(3), position]
    agreement = standard_errors(squared, law.overlap(shown))
    edge = law.outlier(hidden) + TRACY_WIDOM_MEAN * edge_fluctuation(law, order)
    at_edge = standard_errors(values[:, 2], edge)
    print(
        f"order {order}: standard errors of places {places}, overlaps {agreement}, edge {at_edge}"
    )
    print(f"means {values[:, [*position, 2]].mean(0)}, overlaps {squared.mean(0)}")
    print(f"predicted {law.outlier(shown)}, edge {edge}, overlaps {law.overlap(shown)}")
    assert law.outlier(hidden) == law.edges[1]
    assert np.all(places < 3)
    assert np.all(agreement < 3)
    assert at_edge < 3
    assert overlaps[:, 3, 2].mean() < 0.2
    return squared, shown


@pytest.mark.parametrize("bulk", [ZERO, BULK], ids=["zero", "three-atoms"])
def test_simulated_outliers_edges_and_overlaps_of_order_400_are_as_predicted(bulk):
    check_spiked_draws(SemicircularSum(bulk, SCALE), 400, np.random.default_rng(4))


@pytest.mark.slow
@pytest.mark.parametrize("bulk", [ZERO, BULK], ids=["zero", "three-atoms"])
def test_simulated_outliers_edges_and_overlaps_of_order_2000_are_as_predicted(bulk):
    law = SemicircularSum(bulk, SCALE)
    squared, shown = check_spiked_draws(law, 2000, np.random.default_rng(7))
    if bulk is ZERO:
        threshold = np.sqrt(shown**2 * (1 - squared))
        deviation = standard_errors(threshold, rmt.bbp_threshold(SCALE))
        print(f"thresholds {threshold.mean(0)}, standard errors {deviation}")
        assert np.all(deviation < 3)


def test_simulated_sample_covariances_and_wishart_noise_are_as_predicted():
    order, samples, generator = 400, 1000, np.random.default_rng(6)
    noise = MarchenkoPastur(order / samples, 1.3)
    population, additive = np.array([5.0, 0.3 * rmt.covariance_threshold(noise)[0]]), [4.0, -2.0]
    columns = {"covariance": [], "wishart": []}
    for _ in range(DRAWS):
        data = generator.standard_normal((samples, order)) * np.sqrt(noise.variance)
        wishart = data.T @ data / samples
        wishart[[0, 1], [0, 1]] += additive
        data[:, :2] *= np.sqrt(population / noise.variance)
        for name, matrix in (("covariance", data.T @ data / samples), ("wishart", wishart)):
            value, vector = np.linalg.eigh(matrix)
            columns[name].append([value[-1], value[0], vector[0, -1] ** 2, vector[1, 0] ** 2])
    expected = {
        "covariance": [
            *rmt.covariance_outlier(population, noise),
            *rmt.covariance_overlap(population, noise),
        ],
        "wishart": [
            *rmt.deformed_outlier(additive, ZERO, noise),
            *rmt.deformed_overlap(additive, ZERO, noise),
        ],
    }
    for name, rows in columns.items():
        assert np.all(standard_errors(np.array(rows), expected[name]) < 3), name
