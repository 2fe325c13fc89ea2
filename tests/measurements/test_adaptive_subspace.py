"""As many directions as a share of the noise asks for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from truehessian.measurements.adaptive_subspace import COLUMNS, Wanted, adaptive_subspace
from truehessian.operators.weights import Weights

ORDER, COUNT, KEPT = 30, 48, 6


class Examples:
    """An operator of dense matrices by example, each a group of its own."""

    batchnorm, chunk_size, device, dtype = "eval", 1, torch.device("cpu"), torch.float64
    weight_decay, num_examples, num_params = 0.0, COUNT, ORDER
    data, weights = SimpleNamespace(sizes=[1] * COUNT), Weights([1.0] * COUNT, float(COUNT), True)

    def __init__(self, matrices):
        self.matrices = matrices
        self.products = 0

    def chunk_products(self, block):
        self.products += len(block)
        for matrix in self.matrices:
            yield 1, block @ matrix


@pytest.fixture(scope="module")
def matrices():
    """A few large eigenvalues at either end; noise that falls off from direction to direction."""
    draw = torch.Generator().manual_seed(5)
    scale = torch.logspace(0, -1.5, ORDER, dtype=torch.float64)
    noise = torch.randn(COUNT, ORDER, ORDER, generator=draw, dtype=torch.float64)
    noise = scale[:, None] * (noise + noise.mT) * scale
    mean = torch.diag(torch.linspace(3, -3, ORDER, dtype=torch.float64))
    return mean + noise - noise.mean(0)


def ends_of(matrices):
    values, vectors = torch.linalg.eigh(matrices.mean(0))
    top = vectors.T.flip(0)[:KEPT]
    return [top, vectors.T[:KEPT]], torch.cat([values.flip(0)[:KEPT], values[:KEPT]])


def measured(matrices, share, passes=ORDER, ranks=2):
    ends, values = ends_of(matrices)
    own = torch.cat([values[:ranks], values[KEPT : KEPT + ranks]]).numpy()
    operator = Examples(matrices)
    noise, reached = adaptive_subspace(operator, ends, own, Wanted(share, passes, ranks))
    return noise, reached, operator.products


def shares(matrices, noise, ranks=2):
    """By definition: what of the noise along the first vectors stays in the span."""
    ends, _ = ends_of(matrices)
    own = torch.cat([end[:ranks] for end in ends])
    total = ((matrices - matrices.mean(0)) @ own.T).pow(2).sum((0, 1)).numpy() / COUNT
    kept = 1 - noise.leak.diagonal()[: 2 * ranks] / total
    weights = total.reshape(2, ranks)
    return (kept.reshape(2, ranks) * weights).sum(1) / weights.sum(1)


@pytest.mark.parametrize("share", [0.7, 0.8, 0.95])
def test_the_share_is_held_with_no_more_directions_than_it_asks_for(matrices, share):
    noise, reached, products = measured(matrices, share)
    assert min(reached.held) >= share - 1e-9
    np.testing.assert_allclose(reached.held, shares(matrices, noise), atol=1e-9)
    assert products == reached.ritz_vectors + reached.leak_vectors == len(noise.leak)
    fewer = measured(matrices, share, passes=products - 2)[1]
    assert min(fewer.held) < share


def test_a_larger_share_takes_more_passes_and_no_more_than_are_allowed(matrices):
    taken = [measured(matrices, share)[2] for share in (0.3, 0.6, 0.9)]
    assert taken == sorted(taken)
    assert taken[0] < taken[-1]
    for passes in (4, 7, 12):
        _, reached, products = measured(matrices, 0.999, passes)
        assert products <= passes
        assert max(reached.held) < 0.999


def test_what_is_measured_is_what_dense_matrices_have(matrices):
    """The first vectors are the Ritz vectors, and the others are an orthonormal basis beside."""
    noise, reached, _ = measured(matrices, 0.9)
    ends, values = ends_of(matrices)
    order = len(noise.leak)
    own = torch.cat([end[:2] for end in ends])
    assert noise.projected.shape == (COUNT, order, order)
    inner = noise.projected[:, :4, :4]
    np.testing.assert_allclose(inner, (own @ matrices @ own.T).numpy(), atol=1e-9)
    np.testing.assert_allclose(noise.hessian, noise.projected.mean(0), atol=1e-9)
    np.testing.assert_allclose(noise.hessian[:4, :4], np.diag(noise.ritz_values), atol=1e-9)
    assert reached.ritz_vectors >= 4
    assert np.linalg.eigvalsh(noise.hessian)[-1] <= values[0] + 1e-9


def test_the_whole_space_leaks_nothing(matrices):
    noise, reached, products = measured(matrices, 1 - 1e-12, passes=2 * ORDER)
    assert products <= ORDER
    np.testing.assert_allclose(reached.held, 1, atol=1e-9)
    np.testing.assert_allclose(noise.leak[:4, :4], 0, atol=1e-8)


def test_inner_ritz_vectors_are_taken_where_they_hold_the_noise():
    """Noise that turns the top vector into the fourth one only."""
    mean = torch.diag(torch.linspace(3, -3, ORDER, dtype=torch.float64))
    signs = torch.tensor([1.0, -1.0] * (COUNT // 2), dtype=torch.float64)
    noise = torch.zeros(COUNT, ORDER, ORDER, dtype=torch.float64)
    noise[:, 0, 3] = noise[:, 3, 0] = 0.2 * signs
    noise[:, 0, 15] = noise[:, 15, 0] = 0.01 * signs
    _, reached, _ = measured(mean + noise, 0.9)
    assert (reached.ritz_vectors, reached.leak_vectors) == (5, 0)
    assert reached.held[0] == pytest.approx(0.04 / 0.0401)
    assert np.isnan(reached.held[1])  # no noise along the bottom ones
    _, reached, _ = measured(mean + noise, 0.999)
    assert (reached.ritz_vectors, reached.leak_vectors) == (5, 1)


def test_what_was_reached_is_a_row_for_each_end(matrices):
    _, reached, _ = measured(matrices, 0.8)
    frame = reached.table(Wanted(0.8, ORDER, 2))
    assert tuple(frame.columns) == COLUMNS
    assert frame["end"].tolist() == ["largest", "smallest"]
    assert tuple(frame["held"]) == reached.held
    assert set(frame["passes"]) == {reached.ritz_vectors + reached.leak_vectors}


def test_too_few_passes_for_the_outermost_vectors_are_refused(matrices):
    with pytest.raises(ValueError, match="passes must be 4 at least"):
        measured(matrices, 0.8, passes=3)
