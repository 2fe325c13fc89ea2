"""The penalty on the weights that matrices may have beside the loss."""

import functools

import pytest
import torch
import torch.nn.functional as F
from cases import Convolutional, Smooth, examples, network
from conformance import OperatorConformance, close
from dense import dense_ggn, dense_hessian
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import truehessian as th
from truehessian.measurements import journals, source, variance
from truehessian.operators import OPERATORS

DECAY = 0.25


def with_penalty(matrix):
    return matrix + DECAY * torch.eye(len(matrix), dtype=torch.float64)


class TestRegularisedHessian(OperatorConformance):
    def make(self, model, data, **how):
        return th.Hessian(model, data, weight_decay=DECAY, **how)

    def dense(self, model, inputs, targets, loss):
        return with_penalty(dense_hessian(model, inputs, targets, loss))


class TestRegularisedGGN(TestRegularisedHessian):
    def make(self, model, data, **how):
        return th.GGN(model, data, weight_decay=DECAY, **how)

    def dense(self, model, inputs, targets, loss):
        return with_penalty(dense_ggn(model, inputs, targets, loss))


def test_it_is_the_hessian_of_what_sgd_with_weight_decay_goes_down():
    """By differences of its steps."""
    model, (inputs, targets) = network(Smooth).double(), examples(6)
    at = parameters_to_vector(model.parameters()).detach()

    def step(displacement):
        vector_to_parameters(at + displacement, model.parameters())
        model.zero_grad()
        sgd = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=DECAY)
        F.cross_entropy(model(inputs.double()), targets).backward()
        sgd.step()
        return at + displacement - parameters_to_vector(model.parameters()).detach()

    vector_to_parameters(at, model.parameters())
    operator = th.Hessian(model, (inputs, targets), precision="float64", weight_decay=DECAY)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(operator.num_params, generator=generator, dtype=torch.float64)
    close(operator @ direction, (step(1e-5 * direction) - step(-1e-5 * direction)) / 2e-5, 1e-7)


def test_it_goes_with_the_parameters_that_the_matrix_is_restricted_to():
    model, data = network(Convolutional), examples(5)
    how = {"precision": "float64", "parameters": ["*bias"]}
    identity = torch.eye(th.Hessian(model, data, **how).num_params, dtype=torch.float64)
    regularised = th.Hessian(model, data, weight_decay=DECAY, **how)
    close(regularised @ identity, th.Hessian(model, data, **how) @ identity + DECAY * identity)


def test_it_cancels_in_noise_and_in_variances():
    model, data = network(Convolutional), examples(12)
    found = []
    for decay in (0.0, DECAY):
        how = {"precision": "float64", "weight_decay": decay, "chunk_size": 3}
        full = th.Hessian(model, data, **how)
        batch = th.Hessian(model, tuple(part[:4] for part in data), **how)
        noise = th.Noise(batch, full)
        assert noise.describe()["weight_decay"] == 0
        u = torch.nn.functional.normalize(torch.ones(1, full.num_params, dtype=torch.float64))
        found.append((noise @ u.T, th.variance(full, u)))
    (plain, own), (product, regularised) = found
    close(product, plain)
    close(regularised.variance, own.variance)
    close(regularised.quotient, own.quotient + DECAY)
    with pytest.raises(ValueError, match=r"must have one weight_decay, got 0\.25 and 0\.0"):
        th.Noise(batch, th.Hessian(model, data, precision="float64"))


def test_the_noise_within_ritz_vectors_is_that_of_the_loss_alone():
    operator = th.Hessian(network(Convolutional), examples(4), weight_decay=DECAY)
    with pytest.raises(ValueError, match="that of the loss alone; take an operator without"):
        variance.of_subspace(operator, None, None, None, None)


@pytest.mark.parametrize("finished", [True, False])
def test_what_a_killed_run_has_left_of_another_weight_decay_is_not_gone_on_with(
    tmp_path, monkeypatch, finished
):
    monkeypatch.setattr(journals, "Journal", functools.partial(journals.Journal, interval=0))
    data, how = examples(4), {"steps": 4, "seed": 0}
    made = source.Source(network(Convolutional), None, {"precision": "float64"}, None)
    first, second = (made.operator(th.Hessian, data, weight_decay=d) for d in (0.0, DECAY))
    if finished:
        made.spectrum(first, state=tmp_path / "state", **how)
        again = made.spectrum
    else:
        made.measure(first, state=tmp_path / "state", **how)
        again = made.measure
    again(first, state=tmp_path / "state", **how)
    with pytest.raises(ValueError, match="matrix"):
        again(second, state=tmp_path / "state", **how)


def test_it_is_said_and_marks_the_matrix():
    data = examples(4)
    operator = th.Hessian(network(Convolutional), data, weight_decay=DECAY)
    assert operator.describe()["weight_decay"] == DECAY
    assert "weight_decay=0.25" in repr(operator)
    plain = th.Hessian(network(Convolutional), data)
    assert plain.describe()["weight_decay"] == 0
    assert "weight_decay" not in repr(plain)


@pytest.mark.parametrize("name", ["empirical_fisher", "gradient_covariance", "fisher"])
def test_matrices_of_gradients_have_none(name):
    kind = OPERATORS.load(name)
    assert not kind.takes_weight_decay
    with pytest.raises(ValueError, match="made of the gradients of single examples"):
        kind(network(Convolutional), examples(4), weight_decay=DECAY)


@pytest.mark.parametrize("decay", [-1e-4, float("nan"), float("inf"), "include", True, None])
def test_it_is_a_number_from_zero_on(decay):
    with pytest.raises(ValueError, match="weight_decay must be a number from 0 on"):
        th.Hessian(network(Convolutional), examples(4), weight_decay=decay)
