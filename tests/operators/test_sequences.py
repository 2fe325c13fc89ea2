"""Products for networks that no rule was made for, against a twin without any of the package."""

import pytest
import torch
import torch.nn.functional as F
from cases import dense_by_two_passes, examples, network
from sequences import NETWORKS
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from truehessian.operators import GGN, EmpiricalFisher, Hessian


@pytest.mark.parametrize("name", NETWORKS)
def test_the_matrix_is_that_of_plain_differentiation(name):
    model, data = network(NETWORKS[name]), examples(5)
    exact = dense_by_two_passes(model, *data)
    hessian = Hessian(model, data, precision="float64", chunk_size=3)
    got = hessian @ torch.eye(hessian.num_params, dtype=torch.float64)
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10 * exact.abs().max().item())
    single = Hessian(model, data, chunk_size=3) @ torch.eye(hessian.num_params)
    assert (single - exact).norm() < 1e-5 * exact.norm()


def test_weight_normalisation_has_the_second_derivative_of_its_definition():
    """PyTorch's own is wrong and not symmetric, so gradients are differenced here."""

    def make():
        return nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)),
            nn.BatchNorm2d(2),
            nn.Softplus(),
            nn.Flatten(),
            nn.utils.parametrizations.weight_norm(nn.Linear(8, 4), dim=1),
            nn.Tanh(),
            nn.utils.parametrizations.weight_norm(nn.Linear(4, 3), dim=None),
        )

    model, (inputs, targets) = network(make).eval(), examples(4)
    hessian = Hessian(model, (inputs, targets), precision="float64")
    vector = torch.randn(hessian.num_params, dtype=torch.float64)
    parts = vector.split([p.numel() for p in model.parameters()])

    def gradient(step):
        for parameter, part in zip(model.parameters(), parts, strict=True):
            parameter.data.add_(part.view(parameter.shape), alpha=step)
        loss = F.cross_entropy(model(inputs), targets)
        rows = torch.autograd.grad(loss, list(model.parameters()))
        return torch.cat([row.reshape(-1) for row in rows])

    step = 1e-5
    difference = (gradient(step) - gradient(-2 * step)) / (2 * step)
    torch.testing.assert_close(hessian @ vector, difference, rtol=1e-6, atol=1e-6)


def test_sparse_gradients_are_those_of_dense_ones():
    class Embedded(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            self.sparse = sparse
            self.table, self.head = nn.Embedding(6, 4, sparse=sparse), nn.Linear(8, 3)
            self.other = nn.Parameter(torch.randn(6, 4))

        def forward(self, inputs):
            tokens = inputs.flatten(1).abs().mul(4).long().clamp(max=5)
            rows = [self.table(tokens), F.embedding(tokens, self.other, sparse=self.sparse)]
            return self.head(torch.tanh(torch.cat(rows, 2).mean(1)))

    sparse, dense = (network(lambda s=s: Embedded(s)) for s in (True, False))
    hessian = Hessian(sparse, examples(5), precision="float64")
    got = hessian @ torch.eye(hessian.num_params, dtype=torch.float64)
    exact = dense_by_two_passes(dense, *examples(5))
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- Gauss-Newton matrices and Fisher


@pytest.mark.parametrize("name", NETWORKS)
def test_matrices_of_jacobians_are_those_of_plain_ones(name):
    model, (inputs, targets) = network(NETWORKS[name]), examples(4)
    jacobian = plain_jacobian(model, inputs)  # (N, C, P)
    outputs = in_double_precision(model, inputs).detach()
    p = torch.softmax(outputs, 1)
    weight = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    slopes = torch.einsum("ncp,nc->np", jacobian, p - F.one_hot(targets, 3))
    exact = {
        GGN: torch.einsum("ncp,ncd,ndq->pq", jacobian, weight, jacobian) / len(targets),
        EmpiricalFisher: slopes.T @ slopes / len(targets),
    }
    for kind, matrix in exact.items():
        operator = kind(model, (inputs, targets), precision="float64", chunk_size=3)
        got = operator @ torch.eye(operator.num_params, dtype=torch.float64)
        scale = matrix.abs().max().item()
        torch.testing.assert_close(got, matrix, rtol=1e-10, atol=1e-10 * scale)


def in_double_precision(model, inputs):
    torch.set_default_dtype(torch.float64)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            return model.double().eval()(inputs)
    finally:
        torch.set_default_dtype(torch.float32)


def plain_jacobian(model, inputs):
    """The Jacobian of the outputs, one backward pass per number."""
    leaves = [p.requires_grad_() for p in model.parameters()]
    outputs = in_double_precision(model, inputs)
    rows = [
        torch.autograd.grad(
            entry, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for entry in outputs.reshape(-1)
    ]
    flat = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
    return flat.view(*outputs.shape, -1)
