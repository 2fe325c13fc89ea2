import itertools
import math

import numpy as np
import pytest

from truehessian.theory.predictions import isotropic
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.predictions.noise import split_noise
from truehessian.theory.predictions.subspace import subspace

ENDS = ("largest", "smallest")


def extreme(matrices, end):
    values = np.linalg.eigvalsh(matrices)
    return values[..., -1] if end == "largest" else values[..., 0]


def per_example_hessians(num_examples, order, seed):
    """Indefinite matrices of low rank and uneven size, as the Hessians of single examples are."""
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((num_examples, 2, order)) / np.sqrt(order)
    directions[:, 0, :3] += generator.standard_normal((num_examples, 3)) * (1.2, 1.1, 1.0)
    directions[:, 1, -3:] += generator.standard_normal((num_examples, 3)) * (1.2, 1.1, 1.0)
    up, down = directions[:, 0], 0.5 * directions[:, 1]
    return up[:, :, None] * up[:, None, :] - down[:, :, None] * down[:, None, :]


def noise_in_leading_vectors(hessians, group_size, k):
    """The k outermost eigenvectors at both ends, and the noise seen from them."""
    num_examples = len(hessians)
    mean = hessians.mean(0)
    values, vectors = np.linalg.eigh(mean)
    order = np.argsort(-np.abs(values))[:k]
    values, vectors = values[order], vectors[:, order]
    groups = hessians.reshape(-1, group_size, *mean.shape).mean(1)
    products = (hessians - mean) @ vectors  # (N, P, k)
    return split_noise(
        values,
        np.einsum("ipa,ipb->ab", products, products) / num_examples,
        vectors.T @ groups @ vectors,
        group_size=group_size,
        num_examples=num_examples,
    ), vectors


def directional_variance(hessians, vector):
    return (((hessians - hessians.mean(0)) @ vector) ** 2).sum(-1).mean()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
def test_noise_of_all_possible_batches_has_the_finite_population_factor(batch_size):
    """E ||E u||² = f V(u) exactly when every batch of a small population is enumerated."""
    hessians = per_example_hessians(6, 5, seed=1)
    vector = np.random.default_rng(0).standard_normal(5)
    batches = [hessians[list(b)].mean(0) for b in itertools.combinations(range(6), batch_size)]
    squares = [np.sum(((batch - hessians.mean(0)) @ vector) ** 2) for batch in batches]
    factor = finite_population_factor(batch_size, 6)
    expected = factor * directional_variance(hessians, vector)
    assert np.mean(squares) == pytest.approx(expected, rel=1e-12, abs=1e-25)


def test_factor_is_zero_for_all_examples_and_one_for_one():
    assert finite_population_factor(50, 50) == 0
    assert finite_population_factor(1, 50) == 1
    assert finite_population_factor(1, 1) == 0


@pytest.mark.parametrize("batch_size", [0, -3, 51])
def test_impossible_batches_are_refused(batch_size):
    with pytest.raises(ValueError, match=f"between 1 and the 50 examples, got {batch_size}"):
        finite_population_factor(batch_size, 50)


def test_published_predictions_follow_from_the_variances_they_imply():
    """13.38 -> 24.41 lies above the threshold, 10.35 -> 28.19 below it, at the edge."""
    assert isotropic.goe(13.38, 1.0, 147.6, "largest") == pytest.approx(24.41, abs=5e-3)
    assert isotropic.goe(10.35, 1.0, 198.67, "largest") == pytest.approx(28.19, abs=5e-3)


def test_ends_mirror_each_other():
    for value in (-3.0, -0.2, 0.0, 0.4, 5.0):
        for rule in (isotropic.goe, isotropic.directional):
            upper = rule(value, 0.1, 20.0, "largest")
            assert rule(-value, 0.1, 20.0, "smallest") == -upper
        upper = isotropic.weyl(value, 0.1, 50, 20.0, "largest")
        assert isotropic.weyl(-value, 0.1, 50, 20.0, "smallest") == -upper


def test_eigenvalue_on_the_wrong_side_of_zero_is_predicted_at_the_edge():
    edge = 2 * math.sqrt(0.1 * 20)
    assert isotropic.goe(-9.0, 0.1, 20.0, "largest") == pytest.approx(edge)
    assert isotropic.goe(9.0, 0.1, 20.0, "smallest") == pytest.approx(-edge)


def test_predictions_are_ordered_like_their_assumptions():
    """Noise moves an eigenvalue outwards, by less than its whole Frobenius norm."""
    values = np.array([0.0, 0.5, 3.0, 30.0])
    shifted = isotropic.goe(values, 0.02, 40.0, "largest")
    bound = isotropic.weyl(values, 0.02, 1000, 40.0, "largest")
    assert np.all(values < shifted)
    assert np.all(shifted < bound)
    np.testing.assert_allclose(bound - values, math.sqrt(0.02 * 1000 * 40))


@pytest.mark.parametrize("end", ENDS)
def test_without_noise_every_prediction_is_the_eigenvalue(end):
    for value in (-2.0, 0.5):
        assert isotropic.goe(value, 0.0, 40.0, end) == value
        assert isotropic.directional(value, 0.3, 0.0, end) == value
        assert isotropic.weyl(value, 0.0, 10, 40.0, end) == value
    noise, _ = noise_in_leading_vectors(per_example_hessians(24, 8, seed=2), 2, 4)
    whole = subspace(**noise._asdict(), batch_size=24, end=end)
    np.testing.assert_allclose(whole.draws, extreme(np.diag(noise.ritz_values), end), rtol=1e-14)
    assert whole.standard_deviation == pytest.approx(0, abs=1e-14)


def test_negative_noise_and_unknown_ends_are_refused():
    with pytest.raises(ValueError, match="factor and variance"):
        isotropic.goe(1.0, -0.1, 1.0, "largest")
    with pytest.raises(ValueError, match="top"):
        isotropic.goe(1.0, 0.1, 1.0, "top")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("group_size", "batch_size"), [(1, 2), (1, 5), (2, 4), (3, 3)])
def test_subspace_of_all_vectors_reproduces_the_batches(end, group_size, batch_size):
    """With nothing outside the span every draw is a batch, and all batches are equally likely."""
    hessians = per_example_hessians(6, 4, seed=3)
    groups = hessians.reshape(-1, group_size, 4, 4).mean(1)
    chosen = itertools.combinations(range(len(groups)), batch_size // group_size)
    exact = extreme(np.stack([groups[list(batch)].mean(0) for batch in chosen]), end)

    noise, _ = noise_in_leading_vectors(hessians, group_size, 4)
    if group_size == 1:
        np.testing.assert_allclose(noise.leak, 0, atol=1e-13)
    exact_noise = noise._replace(leak=np.zeros((4, 4)))
    drawn = subspace(**exact_noise._asdict(), batch_size=batch_size, end=end, draws=2000, seed=0)
    distance = np.abs(drawn.draws[:, None] - exact).min(1)
    assert distance.max() < 1e-12
    assert abs(drawn.mean - exact.mean()) < 5 * exact.std() / math.sqrt(2000) + 1e-12
    assert drawn.standard_deviation == pytest.approx(exact.std(), rel=0.1)


@pytest.mark.parametrize("value", [3.0, 0.1, 0.0, -1.0])
@pytest.mark.parametrize("end", ENDS)
def test_leak_alone_solves_its_quadratic_equation(value, end):
    """One vector, no noise along it: z = l + f W / z, on the branch of this end."""
    sign = 1 if end == "largest" else -1
    leak, factor = 8.0, finite_population_factor(5, 100)
    drawn = subspace(
        np.array([value]),
        np.zeros((20, 1, 1)),
        np.array([[leak]]),
        group_size=5,
        batch_size=5,
        num_examples=100,
        end=end,
    )
    root = math.sqrt(value**2 + 4 * factor * leak)
    np.testing.assert_allclose(drawn.draws, (value + sign * root) / 2, rtol=1e-12)


@pytest.mark.parametrize("end", ENDS)
def test_leak_of_several_vectors_is_a_fixed_point(end):
    generator = np.random.default_rng(4)
    root = generator.standard_normal((3, 3))
    values, leak = np.array([2.0, 0.5, -1.0]), root @ root.T
    z = subspace(
        values, np.zeros((10, 3, 3)), leak, group_size=1, batch_size=2, num_examples=10, end=end
    ).mean
    factor = finite_population_factor(2, 10)
    assert extreme(np.diag(values) + factor * leak / z, end) == pytest.approx(z, rel=1e-12)


def test_leak_and_span_make_up_the_variance_of_each_vector():
    """Seen through groups, the leak is unbiased: its mean over random orders is the exact one."""
    hessians = per_example_hessians(24, 6, seed=5)
    exact, vectors = noise_in_leading_vectors(hessians, 1, 3)
    within = np.einsum("gab,gcb->ac", n := exact.projected - exact.projected.mean(0), n) / 24
    variances = [directional_variance(hessians, vector) for vector in vectors.T]
    np.testing.assert_allclose(np.diag(exact.leak + within), variances, rtol=1e-12)

    generator = np.random.default_rng(6)
    leaks = np.stack(
        [
            noise_in_leading_vectors(generator.permutation(hessians), 3, 3)[0].leak
            for _ in range(400)
        ]
    )
    error = np.diagonal(leaks.std(0)) / math.sqrt(len(leaks))
    assert np.all(np.abs(np.diagonal(leaks.mean(0) - exact.leak)) < 5 * error)
    assert np.all(error < 0.03 * np.array(variances))


@pytest.mark.parametrize("end", ENDS)
def test_subspace_predicts_mean_and_spread_where_noise_lives_in_few_directions(end):
    num_examples, order, batch_size = 480, 40, 40
    hessians = per_example_hessians(num_examples, order, seed=7)
    noise, _ = noise_in_leading_vectors(hessians, 4, 6)
    drawn = subspace(**noise._asdict(), batch_size=batch_size, end=end, seed=1)

    generator = np.random.default_rng(8)
    batches = [generator.choice(num_examples, batch_size, replace=False) for _ in range(400)]
    measured = extreme(np.stack([hessians[batch].mean(0) for batch in batches]), end)
    full = extreme(hessians.mean(0), end)
    shift = measured.mean() - full
    assert abs(shift) > 5 * measured.std() / math.sqrt(400)
    assert abs(drawn.mean - measured.mean()) < 0.15 * abs(shift)
    assert drawn.standard_deviation == pytest.approx(measured.std(), rel=0.15)

    noise_everywhere = np.sum((hessians - hessians.mean(0)) ** 2) / (num_examples * order)
    factor = finite_population_factor(batch_size, num_examples)
    goe = isotropic.goe(full, factor, noise_everywhere, end)
    assert abs(drawn.mean - measured.mean()) < abs(goe - measured.mean())


@pytest.mark.parametrize("end", ENDS)
def test_every_outlier_of_a_batch_is_drawn_where_the_span_is_the_whole_space(end):
    hessians = per_example_hessians(5, 4, seed=11)
    noise, vectors = noise_in_leading_vectors(hessians, 1, 4)
    drawn = subspace(
        **noise._replace(leak=np.zeros((4, 4)))._asdict(), batch_size=1, end=end, ranks=3, draws=50
    )
    values, spaces = np.linalg.eigh(hessians)
    values, spaces = (values[:, ::-1], spaces[:, :, ::-1]) if end == "largest" else (values, spaces)
    single = np.abs(drawn.ranked[:, None, :] - values[None, :, :3]).max(-1)  # (draws, batches)
    np.testing.assert_allclose(single.min(1), 0, atol=1e-12)
    overlaps = (vectors.T @ spaces[:, :, 0].T).T ** 2
    np.testing.assert_allclose(drawn.overlaps, overlaps[single.argmin(1)], atol=1e-9)
    np.testing.assert_array_equal(drawn.ranked[:, 0], drawn.draws)


def test_further_vectors_enter_with_their_share_of_the_full_hessian():
    """A rotated basis of the whole space predicts the same batches as the eigenvectors."""
    hessians = per_example_hessians(12, 5, seed=12)
    noise, _ = noise_in_leading_vectors(hessians, 2, 5)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turn = np.eye(5)
    turn[2:, 2:] = rotation
    turned = noise._replace(
        ritz_values=noise.ritz_values[:2],
        projected=turn.T @ noise.projected @ turn,
        leak=turn.T @ noise.leak @ turn,
        hessian=turn.T @ np.diag(noise.ritz_values) @ turn,
    )
    plain, other = (
        subspace(**n._replace(leak=0 * n.leak)._asdict(), batch_size=4, end="largest")
        for n in (noise, turned)
    )
    np.testing.assert_allclose(other.draws, plain.draws, rtol=1e-12)
    np.testing.assert_allclose(other.overlaps, plain.overlaps[:, :2], atol=1e-10)


def test_noise_of_one_sign_does_not_leak_to_the_other_end():
    """Positive semidefinite examples have no negative batches; their leak must not make one."""
    generator = np.random.default_rng(3)
    directions = generator.standard_normal((240, 30)) * generator.gamma(0.3, size=(240, 1))
    hessians = directions[:, :, None] * directions[:, None, :]
    noise, _ = noise_in_leading_vectors(hessians, 1, 10)
    factor = finite_population_factor(8, 240)
    unscreened = np.sqrt(factor * np.diag(noise.leak)).max()
    lowest = subspace(**noise._asdict(), batch_size=8, end="smallest").mean
    assert -0.25 * unscreened < lowest < 0.25 * unscreened


def test_batches_that_the_groups_cannot_make_up_are_not_predicted():
    noise, _ = noise_in_leading_vectors(per_example_hessians(24, 6, seed=9), 4, 3)
    for batch_size in (2, 6, 28):
        drawn = subspace(**noise._asdict(), batch_size=batch_size, end="largest")
        assert math.isnan(drawn.mean)
        assert math.isnan(drawn.standard_deviation)
        assert np.isnan(drawn.draws).all()


def test_draws_are_the_same_for_the_same_seed_only():
    noise, _ = noise_in_leading_vectors(per_example_hessians(24, 6, seed=9), 2, 3)
    settings = noise._asdict() | {"batch_size": 8, "end": "largest", "draws": 20}
    first, again = (subspace(**settings, seed=3).draws for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, subspace(**settings, seed=4).draws)


def test_shapes_that_do_not_fit_are_refused():
    settings = {"group_size": 1, "batch_size": 2, "num_examples": 9, "end": "largest"}
    with pytest.raises(ValueError, match="shapes"):
        subspace(np.ones(3), np.zeros((9, 2, 2)), np.eye(3), **settings)
    with pytest.raises(ValueError, match="draws"):
        subspace(np.ones(2), np.zeros((9, 2, 2)), np.eye(2), **settings, draws=1)
    with pytest.raises(ValueError, match="two groups"):
        split_noise(np.ones(2), np.eye(2), np.zeros((1, 2, 2)), group_size=1, num_examples=9)


@pytest.mark.parametrize("end", ENDS)
def test_overlap_falls_from_one_to_nothing_with_the_noise(end):
    sign = 1 if end == "largest" else -1
    values = [isotropic.overlap(2.0 * sign, 0.5, v, end) for v in (0.0, 2.0, 8.0, 50.0)]
    np.testing.assert_allclose(values, [1.0, 0.75, 0.0, 0.0], atol=1e-14)
    assert isotropic.overlap(-2.0 * sign, 0.5, 2.0, end) == 0


def test_intervals_of_drawn_means_cover_what_all_data_of_this_kind_give():
    """Groups are a sample; the mean over batches of the population lies within 1.96 errors."""
    population = np.stack([per_example_hessians(2, 4, seed=s)[0] for s in range(3000)])
    generator = np.random.default_rng(5)
    centre = population.mean(0)
    batches = population[generator.integers(3000, size=(20000, 4))].mean(1)
    truth = np.linalg.eigvalsh(batches)[:, -1].mean()
    covered = 0
    for seed in range(60):
        sample = population[generator.integers(3000, size=60)]
        values, vectors = np.linalg.eigh(centre)
        drawn = subspace(
            values,
            vectors.T @ sample @ vectors,
            np.zeros((4, 4)),
            group_size=1,
            batch_size=4,
            num_examples=3000,
            end="largest",
            draws=100,
            seed=seed,
            resamples=40,
        )
        covered += abs(drawn.mean - truth) < 1.96 * drawn.standard_errors[0]
    assert 48 <= covered <= 60


def test_all_examples_leave_no_error_but_that_of_a_fixed_matrix():
    noise, _ = noise_in_leading_vectors(per_example_hessians(24, 6, seed=2), 2, 3)
    drawn = subspace(**noise._asdict(), batch_size=24, end="largest", resamples=5)
    np.testing.assert_allclose(drawn.standard_errors, 0, atol=1e-12)
