"""The variance of per-example curvature against its definition on dense Hessians."""

import pytest
import torch
from cases import Smooth, dense_hessian, examples, network

from truehessian.leak import LeakSketch
from truehessian.operators import GGN, Hessian
from truehessian.variance import along_directions, of_subspace

COUNT = 24


@pytest.fixture(scope="module")
def model():
    return network(Smooth)


@pytest.fixture(scope="module")
def hessians(model):
    inputs, targets = examples(COUNT)
    return torch.stack(
        [dense_hessian(model, inputs[i : i + 1], targets[i : i + 1]) for i in range(COUNT)]
    )


def unit_vectors(count: int, num_params: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, num_params, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def shuffled(seed: int, count: int = COUNT):
    inputs, targets = examples(COUNT)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))[:count]
    return inputs[order], targets[order]


def test_single_examples_give_the_definition(model, hessians):
    directions = unit_vectors(3, hessians.shape[1])
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    estimate = along_directions(operator, directions)
    images = (hessians - hessians.mean(0)) @ directions.T  # (N, P, K)
    covariance = torch.einsum("npk,npl->kl", images, images) / COUNT
    torch.testing.assert_close(estimate.covariance, covariance, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(estimate.variance, covariance.diagonal(), rtol=1e-9, atol=1e-12)
    quotient = torch.einsum("kp,pq,kq->k", directions, hessians.mean(0), directions)
    torch.testing.assert_close(estimate.quotient, quotient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("group_size", [2, 5, 7, 12])
def test_groups_of_any_size_are_unbiased(model, hessians, group_size):
    """Over random partitions the mean is V(u), short last groups (24 = 7 + 7 + 7 + 3) included."""
    direction = unit_vectors(1, hessians.shape[1])
    truth = ((hessians - hessians.mean(0)) @ direction[0]).pow(2).sum(1).mean().item()
    values = torch.tensor(
        [
            along_directions(
                Hessian(model, shuffled(seed), chunk_size=group_size, precision="float64"),
                direction,
            ).variance.item()
            for seed in range(60)
        ]
    )
    assert abs(values.mean() - truth) < 4 * values.std() / len(values) ** 0.5
    assert values.std() > 0


def test_mean_over_random_directions_is_the_element_variance_times_order(model, hessians):
    """E V(u) = P sigma^2 for u uniform on the sphere (Eq. 9 with a unit vector)."""
    num_params = hessians.shape[1]
    expected = (hessians - hessians.mean(0)).pow(2).sum((1, 2)).mean() / num_params
    directions = torch.linalg.qr(unit_vectors(num_params, num_params).T)[0].T  # a whole basis
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    torch.testing.assert_close(along_directions(operator, directions).variance.mean(), expected)


def test_standard_errors_match_the_spread_over_samples(model):
    """Fresh samples of a population: reported and actual spread of V and of the quotient agree."""
    inputs, targets = examples(4000, seed=9)
    direction = unit_vectors(1, 83)
    estimates = [
        along_directions(
            Hessian(
                model,
                (inputs[i : i + 100], targets[i : i + 100]),
                chunk_size=4,
                precision="float64",
            ),
            direction,
        )
        for i in range(0, 4000, 100)
    ]
    for value, error in (("variance", "standard_error"), ("quotient", "quotient_standard_error")):
        actual = torch.cat([getattr(e, value) for e in estimates]).std()
        reported = torch.cat([getattr(e, error) for e in estimates]).mean()
        assert 0.7 < (reported / actual) < 1.4


def test_projected_groups_average_to_the_projected_matrix(model, hessians):
    directions = unit_vectors(3, hessians.shape[1])
    operator = Hessian(model, examples(COUNT), chunk_size=6, precision="float64")
    projected = along_directions(operator, directions).projected
    assert projected.shape == (4, 3, 3)
    expected = directions @ hessians.mean(0) @ directions.T
    torch.testing.assert_close(projected.mean(0), expected)


def test_other_operators_have_a_variance_too(model):
    operator = GGN(model, examples(COUNT), chunk_size=3, precision="float64")
    assert along_directions(operator, unit_vectors(2, operator.num_params)).variance.min() > 0


def test_batch_statistics_and_single_groups_are_refused(model):
    direction = unit_vectors(1, 83)
    with pytest.raises(ValueError, match="batchnorm: eval"):
        along_directions(Hessian(model, examples(8), chunk_size=2, batchnorm="train"), direction)
    with pytest.raises(ValueError, match="smaller group_size"):
        along_directions(Hessian(model, examples(8), chunk_size=8), direction)
    with pytest.raises(ValueError, match="unit vectors"):
        along_directions(Hessian(model, examples(8), chunk_size=2), 2 * direction)


@pytest.mark.parametrize("count", [0, 4])
def test_noise_within_vectors_and_leaks_is_that_of_dense_matrices(model, hessians, count):
    values, vectors = torch.linalg.eigh(hessians.mean(0))
    columns = [-1, -2, 0, 1]
    ritz = vectors.T[columns]
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    sketch = LeakSketch(list(ritz.chunk(2)), count // 2)
    random = unit_vectors(2, hessians.shape[1])
    estimate = along_directions(operator, torch.cat([random, ritz]), sketch=sketch)
    noise = of_subspace(operator, ritz, values[columns].numpy(), estimate, sketch)

    basis = torch.cat([ritz, sketch.directions()])
    assert len(basis) == 4 + count
    projected = basis @ hessians @ basis.T
    assert noise.projected == pytest.approx(projected.numpy(), abs=1e-9)
    if count:
        assert noise.hessian == pytest.approx(projected.mean(0).numpy(), abs=1e-9)
    away = (hessians - hessians.mean(0)) @ basis.T
    away = away - basis.T @ (basis @ away)
    leak = torch.einsum("npk,npl->kl", away, away).numpy() / COUNT
    assert noise.leak[:4, :4] == pytest.approx(leak[:4, :4], abs=1e-9)
    assert noise.leak[4:, 4:] == pytest.approx(leak[4:, 4:], abs=1e-9)


def test_leak_directions_take_more_of_the_leak_than_random_ones(model, hessians):
    ritz = torch.linalg.eigh(hessians.mean(0))[1].T[[-1, 0]]
    operator = Hessian(model, examples(COUNT), chunk_size=1, precision="float64")
    sketch = LeakSketch(list(ritz.chunk(2)), 3)
    estimate = along_directions(operator, ritz, sketch=sketch)
    found = of_subspace(operator, ritz, torch.zeros(2).numpy(), estimate, sketch)
    without = of_subspace(operator, ritz, torch.zeros(2).numpy(), estimate, LeakSketch([ritz], 0))
    assert found.leak[:2, :2].trace() < 0.6 * without.leak.trace()


@pytest.mark.parametrize("seed", range(2))
def test_intervals_cover_the_variance_over_random_orders(model, hessians, seed):
    direction = unit_vectors(1, hessians.shape[1], seed)
    truth = ((hessians - hessians.mean(0)) @ direction[0]).pow(2).sum(1).mean()
    covered = 0
    for order in range(60):
        operator = Hessian(model, shuffled(order), chunk_size=2, precision="float64")
        estimate = along_directions(operator, direction)
        covered += bool((estimate.variance[0] - truth).abs() < 1.96 * estimate.standard_error[0])
    assert covered >= 48
