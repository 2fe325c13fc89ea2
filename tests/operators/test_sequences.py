"""Products for networks that no rule was made for, against a twin without any of the package."""

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Case, examples, network
from dense import dense_fisher, dense_ggn, dense_hessian, some_vectors
from sequences import NETWORKS
from torch import nn

from truehessian.operators import GGN, EmpiricalFisher, Hessian

PROBLEMS = {**CASES, **{name: Case(make) for name, make in NETWORKS.items()}}
COUNT = 5


def close(got, exact):
    scale = exact.abs().max().item()
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10 * scale)


def products(kind, case, model, **settings):
    """Products with a few vectors, twice: the second time from graphs that were kept."""
    settings = {"loss": case.loss, "precision": "float64", "chunk_size": 3, **settings}
    operator = kind(model, case.data(COUNT), **settings)
    block = some_vectors(operator.num_params)
    first = operator @ block
    close(operator @ block, first)
    return first


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_matrix_is_that_of_plain_differentiation(name):
    case = PROBLEMS[name]
    model = case.model()
    exact = dense_hessian(model, *case.data(COUNT), case.loss)
    block = some_vectors(len(exact))
    close(products(Hessian, case, model), exact @ block)
    single = Hessian(model, case.data(COUNT), loss=case.loss, chunk_size=3) @ block
    assert (single - exact @ block).norm() < 1e-5 * (exact @ block).norm()


@pytest.mark.parametrize("name", PROBLEMS)
def test_matrices_of_jacobians_are_those_of_plain_ones(name):
    case = PROBLEMS[name]
    model = case.model()
    for kind, dense in ((GGN, dense_ggn), (EmpiricalFisher, dense_fisher)):
        exact = dense(model, *case.data(COUNT), case.loss)
        close(products(kind, case, model), exact @ some_vectors(len(exact)))


@pytest.mark.parametrize("kind", [Hessian, GGN, EmpiricalFisher])
@pytest.mark.parametrize("name", CASES)
def test_graphs_that_are_made_anew_give_the_same_matrix(name, kind):
    model = CASES[name].model()
    close(products(kind, CASES[name], model, memory=0), products(kind, CASES[name], model))


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
    exact = dense_hessian(dense, *examples(5))
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10)
