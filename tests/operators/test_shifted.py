"""Curvature at shifted outputs against the one that is written down."""

import pytest
import torch
import torch.nn.functional as F
from dense import dense_ggn, dense_hessian, dense_jacobian, some_vectors
from torch import nn

from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.operators.batches import TensorData
from truehessian.operators.ggn import GGN
from truehessian.operators.hessian import Hessian
from truehessian.operators.shifted import ShiftedData, ShiftedLoss, pushed_forward

CASES = {
    "cross_entropy": (F.cross_entropy, lambda n: torch.arange(n) % 3),
    "weighted": (
        CrossEntropy(weight=(1.0, 0.5, 3.0), ignore_index=1),
        lambda n: torch.arange(n) % 3,
    ),
    "mse": (F.mse_loss, lambda n: torch.linspace(-1, 1, 3 * n).view(n, 3)),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def problem(name, count=11):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, generator=generator)
    offsets = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    loss, targets = CASES[name]
    return loss, (inputs, targets(count)), offsets


@pytest.mark.parametrize(
    ("name", "kind"),  # the dense Gauss-Newton matrix knows no weights
    [*((name, Hessian) for name in CASES), ("cross_entropy", GGN), ("mse", GGN)],
)
@pytest.mark.parametrize("chunk_size", [11, 4])
def test_it_is_the_curvature_of_the_loss_of_shifted_outputs(name, kind, chunk_size):
    loss, data, offsets = problem(name)
    model = network()
    how = {"precision": "float64", "chunk_size": chunk_size, "loss": ShiftedLoss(loss)}
    operator = kind(model, ShiftedData(TensorData(*data), offsets), **how)
    inputs, targets = data[0].double(), data[1].double() if name == "mse" else data[1]
    if kind is Hessian:
        expected = dense_hessian(model, inputs, targets, lambda z, t: loss(z + offsets, t))
    else:  # W at the shifted outputs, by a network that gives them
        pairs = torch.cat([inputs, offsets], 1)
        expected = dense_ggn(Shifting(model), pairs, targets, loss)
    vectors = some_vectors(operator.num_params)
    torch.testing.assert_close(operator @ vectors, expected @ vectors, rtol=1e-9, atol=1e-11)


class Shifting(nn.Module):
    """A network that takes offsets behind its inputs and adds them to its outputs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pairs):
        return self.model(pairs[:, :4]) + pairs[:, 4:]


def test_without_a_shift_it_is_the_curvature_itself():
    loss, data, offsets = problem("weighted")
    shifted = Hessian(
        network(),
        ShiftedData(TensorData(*data), 0 * offsets),
        loss=ShiftedLoss(loss),
        precision="float64",
    )
    plain = Hessian(network(), data, loss=loss, precision="float64")
    assert shifted.weights == plain.weights
    vectors = some_vectors(plain.num_params)
    torch.testing.assert_close(shifted @ vectors, plain @ vectors)


def test_log_probabilities_cannot_be_shifted_and_there_is_an_offset_for_each_example():
    with pytest.raises(ValueError, match="let the network give logits, and take cross_entropy"):
        ShiftedLoss(F.nll_loss)
    _, data, offsets = problem("mse")
    with pytest.raises(ValueError, match="10 offsets for 11 examples"):
        ShiftedData(TensorData(*data), offsets[1:])


def test_a_vector_is_pushed_forward_by_the_jacobian_of_the_outputs():
    loss, data, _ = problem("cross_entropy")
    operator = GGN(network(), data, loss=loss, precision="float64", parameters=["2.*", "0.bias"])
    vector = some_vectors(operator.num_params)[:, 0]
    jacobian = dense_jacobian(network(), data[0].double())[..., 20:]  # without 0.weight
    torch.testing.assert_close(pushed_forward(operator, vector), jacobian @ vector)
