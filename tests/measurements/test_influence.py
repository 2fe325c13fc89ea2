"""Outputs of examples that are left out, against training without them."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dense import dense_jacobian
from torch import nn

from truehessian.measurements import influence
from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.operators.ggn import GGN

EXACT = {"tolerance": 1e-13, "most": 500}


def network(*sizes):
    torch.manual_seed(0)
    layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1]).double()


def problem(count, classes=3):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    scores = inputs @ torch.randn(4, classes, generator=generator, dtype=torch.float64)
    noise = torch.randn(scores.shape, generator=generator, dtype=torch.float64)
    return inputs, (scores + noise).argmax(1)


def trained(model, data, penalty, loss=F.cross_entropy):
    """The minimum of the mean loss with the penalty that is nearest to where the model is."""
    model = copy.deepcopy(model)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=2000, tolerance_grad=1e-11, tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def value():
        optimiser.zero_grad()
        squares = sum(parameter.square().sum() for parameter in model.parameters())
        total = loss(model(data[0]), data[1]) + penalty / 2 * squares
        total.backward()
        return total

    optimiser.step(value)
    return model


def without(data, place):
    rest = torch.arange(len(data[1])) != place
    return data[0][rest], data[1][rest]


def retrained(model, data, penalty, places, loss=F.cross_entropy):
    """What the outputs of each example change by when the network is trained without it."""
    changes = []
    for place in places:
        other = trained(model, without(data, place), penalty, loss)
        with torch.no_grad():
            inputs = data[0][[place]]
            changes.append((other(inputs) - model(inputs))[0])
    return torch.stack(changes).numpy()


def test_of_a_linear_regression_it_is_training_without_each_example():
    inputs, _ = problem(12)
    data = inputs, torch.randn(12, 2, generator=torch.Generator().manual_seed(3)).double()
    model = trained(network(4, 2), data, 0.1, F.mse_loss)
    ggn = GGN(model, data, loss=F.mse_loss, precision="float64", chunk_size=5)
    found = influence.leave_out(ggn, range(12), damping=0.0, penalty=0.1, **EXACT)
    expected = retrained(model, data, 0.1, range(12), F.mse_loss)
    np.testing.assert_allclose(found.offsets, expected, rtol=1e-5, atol=1e-7)
    assert found.residuals.max() < 1e-12


def test_the_leverage_is_that_of_linear_regression():
    """Without a penalty the residual of an example that is left out is r / (1 - h)."""
    inputs, _ = problem(12)
    inputs = torch.cat([inputs, torch.ones(12, 1).double()], 1)
    targets = torch.randn(12, 1, generator=torch.Generator().manual_seed(3)).double()
    model = nn.Linear(5, 1, bias=False).double()
    hat = inputs @ torch.linalg.pinv(inputs)
    with torch.no_grad():
        model.weight.copy_((torch.linalg.pinv(inputs) @ targets).T)
    ggn = GGN(model, (inputs, targets), loss=F.mse_loss, precision="float64")
    found = influence.leave_out(ggn, range(12), damping=1e-11, **EXACT)
    residual = (targets - hat @ targets)[:, 0]
    leverage = hat.diagonal()
    expected = residual - residual / (1 - leverage)
    np.testing.assert_allclose(found.offsets[:, 0], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("sizes", "penalty", "error"), [((4, 3), 0.02, 0.1), ((4, 6, 3), 0.02, 0.25)]
)
def test_of_a_converged_network_it_is_nearly_training_without_each_example(sizes, penalty, error):
    data = problem(24)
    model = trained(network(*sizes), data, penalty)
    ggn = GGN(model, data, precision="float64")
    found = influence.leave_out(ggn, range(24), damping=0.0, penalty=penalty, **EXACT).offsets
    expected = retrained(model, data, penalty, range(24))
    size = np.linalg.norm(expected)
    assert size > 0.5  # there is something to be told
    assert np.linalg.norm(found - expected) < error * size
    # Without the leverage, which is how much an example holds its own output, it is much less.
    curvature = GGN(model, data, precision="float64") @ torch.eye(ggn.num_params).double()
    inverse = (curvature + penalty * torch.eye(ggn.num_params).double()).inverse()
    jacobian = dense_jacobian(model, data[0])
    slope = (model(data[0]).softmax(1) - F.one_hot(data[1], 3)).detach()
    plain = torch.einsum("ncp,pq,ndq,nd->nc", jacobian, inverse, jacobian, slope).numpy() / 24
    assert np.linalg.norm(plain - expected) > 1.5 * np.linalg.norm(found - expected)


def written_down(model, data, loss, weights, damping, penalty):
    """(G - s G_i + (1 - s) d I)^-1 s (g_i + p w), pushed forward, one example after the other."""
    jacobian = dense_jacobian(model, data[0])
    outputs = model(data[0]).detach()
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    shares = weights / weights.sum()
    identity = torch.eye(jacobian.shape[-1], dtype=torch.float64)
    own, slopes = [], []
    for rows, output, target in zip(jacobian, outputs, data[1].split(1), strict=True):
        curved = torch.autograd.functional.hessian(lambda z, t=target: loss(z[None], t), output)
        leaf = output.clone().requires_grad_(True)
        own.append(rows.T @ curved @ rows)
        slopes.append(torch.autograd.grad(loss(leaf[None], target), leaf)[0])
    whole = sum(share * matrix for share, matrix in zip(shares, own, strict=True))
    changes = []
    for share, matrix, rows, slope in zip(shares, own, jacobian, slopes, strict=True):
        system = whole - share * matrix + (1 - share) * (damping + penalty) * identity
        step = torch.linalg.solve(system, share * (rows.T @ slope + penalty * flat))
        changes.append(rows @ step)
    return torch.stack(changes).numpy()


@pytest.mark.parametrize("small", [2**18, 0])
@pytest.mark.parametrize("weight", [None, (1.0, 0.3, 2.0)])
def test_it_solves_the_equations_that_it_says(monkeypatch, small, weight):
    """In one graph for all examples, and one by one; of some of them, in any order."""
    folds = influence.Folds
    monkeypatch.setattr(influence, "Folds", lambda *how: folds(*how, small=small))
    data, model = problem(20), network(4, 5, 3)
    loss = CrossEntropy() if weight is None else CrossEntropy(weight=weight)
    weights = torch.tensor([1.0] * 3 if weight is None else weight, dtype=torch.float64)[data[1]]
    expected = written_down(model, data, F.cross_entropy, weights, 0.03, 0.01)
    ggn = GGN(model, data, loss=loss, precision="float64", chunk_size=7)
    places = [17, 3, 4, 11, 0]
    how = {"damping": 0.03, "penalty": 0.01, "at_once": 3, **EXACT}
    found = influence.leave_out(ggn, places, **how)
    np.testing.assert_allclose(found.offsets, expected[places], rtol=1e-7, atol=1e-10)


def test_examples_that_do_not_count_move_nothing():
    data, model = problem(9), network(4, 5, 3)
    ggn = GGN(model, data, loss=CrossEntropy(ignore_index=1), precision="float64")
    found = influence.leave_out(ggn, range(9), damping=0.1)
    moved = np.abs(found.offsets).sum(1) > 0
    np.testing.assert_array_equal(moved, data[1].numpy() != 1)


def test_where_nothing_was_learned_nothing_moves():
    ggn = GGN(network(4, 5, 3), problem(9))
    found = influence.leave_out(ggn, range(9), damping=math.inf)
    assert (found.offsets == 0).all()
    assert (found.steps == 0).all()


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    ggn = GGN(network(4, 5, 3), problem(9), precision="float64")
    how = {"damping": 0.1, "at_once": 2, "state": tmp_path}
    whole = influence.leave_out(ggn, range(9), **how)
    (tmp_path / "left-out-4.npz").write_bytes(b"cut off")
    calls = []
    solved = influence._System.solved
    monkeypatch.setattr(
        influence._System, "solved", lambda *args: calls.append(list(args[1])) or solved(*args)
    )
    again = influence.leave_out(ggn, range(9), **how)
    assert calls == [[4, 5]]
    np.testing.assert_array_equal(again.offsets, whole.offsets)


def test_what_is_not_solved_is_said(caplog):
    ggn = GGN(network(4, 5, 3), problem(9), precision="float64")
    influence.leave_out(ggn, range(9), damping=1e-6, tolerance=1e-10, most=2)
    assert "9 of 9 systems were not solved to 1e-10 within 2 steps" in caplog.text


def test_batch_statistics_and_no_damping_at_all_are_refused():
    with pytest.raises(ValueError, match="batchnorm: eval"):
        influence.leave_out(GGN(network(4, 3), problem(9), batchnorm="train"), [0], damping=1.0)
    with pytest.raises(ValueError, match="has no inverse"):
        influence.leave_out(GGN(network(4, 3), problem(9)), [0], damping=0.0)
