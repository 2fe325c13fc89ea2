import numpy as np
import pytest
from scipy import integrate

from truehessian.theory import rmt
from truehessian.theory.rmt import MarchenkoPastur, Semicircle

SEMICIRCLE = Semicircle(centre=0.7, scale=1.3)
ORDER, SCALE = 1000, 1.5
SPIKES = (4.0, -3.0, 0.5 * SCALE)  # the last one is below the threshold
OFF_AXIS = [0.7 + 0.3j, -3 + 1j, 2 - 0.01j, 5j, -8 - 2j]


def integral_over_support(law, function):
    left, right = law.edges
    return integrate.quad(lambda x: law.density(x) * function(x), left, right, epsabs=1e-11)[0]


@pytest.mark.parametrize("law", [SEMICIRCLE, MarchenkoPastur(0.4, 2.0), MarchenkoPastur(3.0, 0.5)])
def test_mass_is_one(law):
    atom = getattr(law, "atom", 0.0)
    assert integral_over_support(law, lambda x: 1.0) + atom == pytest.approx(1, abs=1e-8)


def test_density_vanishes_outside_the_edges():
    for law in (SEMICIRCLE, MarchenkoPastur(0.4, 2.0), MarchenkoPastur(3.0, 0.5)):
        left, right = law.edges
        assert not law.density([left - 1e-6, right + 1e-6, -50.0, 50.0]).any()
        assert np.all(law.density([left + 1e-6, right - 1e-6]) > 0)


@pytest.mark.parametrize("order", range(7))
def test_semicircle_moments_are_catalan_numbers(order):
    catalan = {0: 1, 2: 1, 4: 2, 6: 5}.get(order, 0)
    moment = integral_over_support(SEMICIRCLE, lambda x: (x - SEMICIRCLE.centre) ** order)
    assert SEMICIRCLE.moment(order) == pytest.approx(catalan * SEMICIRCLE.scale**order)
    assert moment == pytest.approx(SEMICIRCLE.moment(order), abs=1e-7)


def test_semicircle_cdf_integrates_the_density():
    left, right = SEMICIRCLE.edges
    for x in np.linspace(left, right, 7):
        mass = integrate.quad(SEMICIRCLE.density, left, x)[0]
        assert SEMICIRCLE.cdf(x) == pytest.approx(mass, abs=1e-7)
    np.testing.assert_array_equal(SEMICIRCLE.cdf([left - 1, right + 1]), [0, 1])


LAWS = [SEMICIRCLE, MarchenkoPastur(0.4, 2.0), MarchenkoPastur(1.0, 1.5), MarchenkoPastur(3.0, 0.5)]


@pytest.mark.parametrize("law", LAWS)
def test_distribution_function_integrates_the_density_and_the_atom(law):
    left, right = law.edges
    atom = getattr(law, "atom", 0.0)
    for x in np.linspace(left, right, 7)[1:-1]:
        mass = integrate.quad(law.density, left, x, epsabs=1e-11, limit=200)[0]
        assert law.cdf(x) == pytest.approx(mass + atom, abs=1e-8)
    np.testing.assert_allclose(law.cdf([-1e9, right, 1e9]), [0, 1, 1], atol=1e-12)
    assert law.cdf(left) == pytest.approx(atom, abs=1e-12)
    assert np.isnan(law.cdf(np.nan))


@pytest.mark.parametrize("law", LAWS)
def test_quantiles_invert_the_distribution_function(law):
    atom = getattr(law, "atom", 0.0)
    probability = np.linspace(atom, 1, 9)[1:-1]
    np.testing.assert_allclose(law.cdf(law.quantile(probability)), probability, atol=1e-12)
    assert law.quantile(1.0) == pytest.approx(law.edges[1])
    assert law.quantile(0.0) == (0 if atom else pytest.approx(law.edges[0]))
    with pytest.raises(ValueError, match="probability"):
        law.quantile([0.5, 1.1])


def test_quantiles_up_to_the_mass_of_an_atom_lie_on_it():
    law = MarchenkoPastur(3.0, 0.5)
    np.testing.assert_array_equal(law.quantile([0, 0.1, 0.6, law.atom]), 0)


@pytest.mark.parametrize("order", range(6))
def test_marchenko_pastur_moments_are_narayana_polynomials(order):
    for law in LAWS[1:]:
        moment = integral_over_support(law, lambda x: x**order) + law.atom * (order == 0)
        assert law.moment(order) == pytest.approx(moment, rel=1e-6)


@pytest.mark.parametrize("law", LAWS)
def test_blue_functions_invert_stieltjes_transforms_and_potentials_integrate_them(law):
    z = np.array([0.3 + 0.5j, -4 + 0.2j, 9 + 1e-3j, 20j])
    np.testing.assert_allclose(law.blue(law.stieltjes(z)), z, rtol=1e-9)
    outside = np.array([-3.0, 30.0])
    np.testing.assert_allclose(law.blue(law.stieltjes(outside)), outside, rtol=1e-9)
    step = 1e-4
    slope = (law.stieltjes(z + step) - law.stieltjes(z - step)) / (2 * step)
    np.testing.assert_allclose(law.stieltjes_derivative(z), slope, rtol=1e-3)
    slope = (law.log_potential(z + step) - law.log_potential(z - step)) / (2 * step)
    np.testing.assert_allclose(law.stieltjes(z), slope, rtol=1e-3)
    far = 1e7j
    assert complex(law.log_potential(far)) == pytest.approx(np.log(far), rel=1e-7)
    w = np.array([-0.2, 0.05, 0.1])
    slope = (law.r_transform(w + step) - law.r_transform(w - step)) / (2 * step)
    np.testing.assert_allclose(law.r_derivative(w), slope, rtol=1e-6)


def test_stieltjes_transform_near_an_atom_keeps_its_precision():
    law, z = MarchenkoPastur(3.0, 0.5), 1e-12j
    assert complex(law.stieltjes(z) * z) == pytest.approx(law.atom, rel=1e-10)


@pytest.mark.parametrize("z", [*OFF_AXIS, 4.0, -2.5])
@pytest.mark.parametrize("law", [SEMICIRCLE, MarchenkoPastur(0.4, 0.8), MarchenkoPastur(3.0, 0.3)])
def test_stieltjes_transform_is_the_integral_of_the_resolvent(law, z):
    real = integral_over_support(law, lambda x: (1 / (z - x)).real)
    imaginary = integral_over_support(law, lambda x: np.imag(1 / (z - x)))
    expected = real + 1j * imaginary + getattr(law, "atom", 0.0) / z
    assert complex(law.stieltjes(z)) == pytest.approx(expected, rel=1e-7)


def test_stieltjes_transform_far_away_is_the_reciprocal():
    far = np.array([1e9, -1e9])
    for law in (SEMICIRCLE, MarchenkoPastur(3.0, 0.5)):
        np.testing.assert_allclose(law.stieltjes(far), 1 / far, rtol=1e-8)


def test_stieltjes_transform_of_real_numbers_is_real_and_refuses_the_support():
    assert SEMICIRCLE.stieltjes([5.0, -5.0]).dtype == np.float64
    with pytest.raises(ValueError, match="imaginary"):
        SEMICIRCLE.stieltjes(SEMICIRCLE.centre)
    with pytest.raises(ValueError, match="atom"):
        MarchenkoPastur(3.0).stieltjes(0.0)
    assert MarchenkoPastur(0.25, 2.0).stieltjes(0.0) == pytest.approx(-1 / (2.0 * 0.75))


def test_blue_function_inverts_the_stieltjes_transform():
    for z in (np.array([*OFF_AXIS]), np.array([4.0, -2.5, 40.0])):
        np.testing.assert_allclose(SEMICIRCLE.blue(SEMICIRCLE.stieltjes(z)), z, rtol=1e-12)


def test_marchenko_pastur_mean_is_the_variance_and_its_spread_the_ratio():
    law = MarchenkoPastur(3.0, 0.5)
    mean = integral_over_support(law, lambda x: x)
    assert mean == pytest.approx(law.variance, rel=1e-6)
    second = integral_over_support(law, lambda x: x**2)
    assert second == pytest.approx(law.variance**2 * (1 + law.ratio), rel=1e-6)
    assert law.atom == pytest.approx(2 / 3)


def test_impossible_laws_are_refused():
    for build in (
        lambda: Semicircle(0, 0),
        lambda: MarchenkoPastur(0),
        lambda: MarchenkoPastur(1, -1),
    ):
        with pytest.raises(ValueError, match="must be positive"):
            build()
    with pytest.raises(ValueError, match="scale"):
        rmt.outlier(1.0, -0.1)
    with pytest.raises(ValueError, match="order"):
        SEMICIRCLE.moment(-2)


def test_outlier_is_where_the_stieltjes_transform_equals_the_reciprocal_spike():
    noise = Semicircle(0, SCALE)
    spikes = np.array([-7.0, -2.0, 1.6, 3.0, 40.0])
    np.testing.assert_allclose(noise.stieltjes(rmt.outlier(spikes, SCALE)), 1 / spikes, rtol=1e-7)


def test_spike_below_the_threshold_shows_at_the_edge_of_its_sign():
    assert rmt.bbp_threshold(SCALE) == SCALE
    edges = rmt.outlier([0.9 * SCALE, -0.9 * SCALE, SCALE, 0.0], SCALE)
    np.testing.assert_array_equal(edges, [2 * SCALE, -2 * SCALE, 2 * SCALE, 2 * SCALE])
    assert rmt.outlier(SCALE * (1 + 1e-9), SCALE) == pytest.approx(2 * SCALE)  # continuous
    np.testing.assert_array_equal(rmt.overlap([0.9 * SCALE, -0.9 * SCALE, 0.0], SCALE), 0)


def test_without_noise_spikes_stay_where_they_are():
    spikes = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(rmt.outlier(spikes, 0.0), spikes)
    np.testing.assert_array_equal(rmt.overlap([-2.0, 3.0], 0.0), 1)
    np.testing.assert_array_equal(rmt.spike_of_outlier([-2.0, 3.0], 0.0), [-2, 3])


def test_spike_of_outlier_inverts_outlier():
    spikes = np.array([-1e6, -3.0, -1.51, 1.51, 2.0, 1e8])
    recovered = rmt.spike_of_outlier(rmt.outlier(spikes, SCALE), SCALE)
    np.testing.assert_allclose(recovered, spikes, rtol=1e-9)


def test_values_inside_the_noise_have_no_spike():
    inside = [0.0, 2.9, -2.9, 2 * SCALE, -2 * SCALE]
    assert np.isnan(rmt.spike_of_outlier(inside, SCALE)).all()


def test_missing_values_stay_missing():
    for function in (rmt.outlier, rmt.overlap, rmt.spike_of_outlier):
        assert np.isnan(function(np.nan, 1.0))
        assert np.isnan(function(3.0, np.nan))


@pytest.fixture(scope="module")
def simulated():
    """Extreme values, overlaps and Frobenius norms of spiked Gaussian orthogonal matrices."""
    generator = np.random.default_rng(0)
    extremes, overlaps, norms = [], [], []
    for _ in range(10):
        gaussian = generator.standard_normal((ORDER, ORDER))
        noise = (gaussian + gaussian.T) * (SCALE / np.sqrt(2 * ORDER))
        norms.append(np.linalg.norm(noise))
        noise[np.diag_indices(3)] += SPIKES  # rotation invariance: any directions will do
        values, vectors = np.linalg.eigh(noise)
        extremes.append((values[-1], values[0], values[-2]))
        overlaps.append((vectors[0, -1] ** 2, vectors[1, 0] ** 2, vectors[2, -2] ** 2))
    return np.array(extremes), np.array(overlaps), np.array(norms)


def deviation_in_standard_errors(samples, expected):
    return (samples.mean(0) - expected) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))


def test_simulated_outliers_lie_where_predicted(simulated):
    extremes, _, _ = simulated
    expected = rmt.outlier(SPIKES[:2], SCALE)
    assert np.all(np.abs(deviation_in_standard_errors(extremes[:, :2], expected)) < 5)
    assert np.all(np.abs(extremes[:, :2].mean(0) - expected) < 0.05)  # the errors are small, too


def test_simulated_overlaps_are_as_predicted(simulated):
    _, overlaps, _ = simulated
    expected = rmt.overlap(SPIKES, SCALE)
    z = deviation_in_standard_errors(overlaps[:, :2], expected[:2])
    assert np.all(np.abs(z) < 5)
    assert expected[2] == 0
    assert np.all(overlaps[:, 2] < 0.1)  # ~ P^(-1/3) at the threshold, ~ 1/P far below


def test_simulated_spike_below_the_threshold_leaves_the_edge_in_place(simulated):
    extremes, _, _ = simulated
    edge = rmt.outlier(SPIKES[2], SCALE)
    tracy_widom_scale = SCALE * ORDER ** (-2 / 3)  # mean -1.2, standard deviation 1.3 of these
    assert edge == 2 * SCALE
    assert np.all(np.abs(extremes[:, 2] - edge) < 5 * tracy_widom_scale)


def test_frobenius_norm_of_simulated_noise_is_the_weyl_bound(simulated):
    extremes, _, norms = simulated
    bound = rmt.weyl_bound(SCALE, ORDER)
    # Entries of variance scale²/P, twice that on the diagonal: P + 1 in place of P.
    assert norms.mean() == pytest.approx(bound, rel=2e-3)
    assert np.all(np.abs(extremes[:, 0] - SPIKES[0]) < bound)
    with pytest.raises(ValueError, match="order"):
        rmt.weyl_bound(SCALE, 0)
