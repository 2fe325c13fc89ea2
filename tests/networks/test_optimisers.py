"""The geometry of Adam, read off its state, against the steps that it takes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from truehessian.networks import optimisers


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def trained(make, steps=4, model=None):
    """A network, its optimiser after some steps, and the weights before the last one."""
    model = model or network()
    optimiser = make(model)
    for number in range(steps):
        before = copy.deepcopy(model.state_dict())
        generator = torch.Generator().manual_seed(number)
        inputs = torch.randn(6, 5, dtype=torch.float64, generator=generator)
        optimiser.zero_grad()
        F.cross_entropy(model(inputs), torch.arange(6) % 3).backward()
        optimiser.step()
    return model, optimiser, before


MAKERS = {
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.95)),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0),
    "amsgrad": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, amsgrad=True, eps=1e-3),
    "groups": lambda model: torch.optim.Adam(
        [
            {"params": [(n, p) for n, p in model.named_parameters() if p.ndim == 1]},
            {"params": [(n, p) for n, p in model.named_parameters() if p.ndim == 2]},
        ],
        lr=0.01,
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_last_step_is_the_first_moment_over_the_preconditioner(name):
    model, optimiser, before = trained(MAKERS[name])
    found = optimisers.adam(optimiser.state_dict(), model)
    assert found.preconditioner.keys() == dict(model.named_parameters()).keys()
    for key, parameter in model.named_parameters():
        moment = optimiser.state[parameter]["exp_avg"]
        step = -found.learning_rate * moment / found.preconditioner[key]
        torch.testing.assert_close(parameter.detach() - before[key], step, rtol=1e-9, atol=1e-15)


def test_rate_and_momentum_are_those_of_the_state():
    model, optimiser, _ = trained(MAKERS["adam"])
    found = optimisers.adam(optimiser.state_dict(), model)
    assert (found.learning_rate, found.beta1) == (0.01, 0.8)


@pytest.mark.parametrize("content", ["alone", "nested"])
def test_a_state_is_found_in_a_file_wherever_it_lies(tmp_path, content):
    model, optimiser, _ = trained(MAKERS["adam"])
    state = optimiser.state_dict()
    inner = {"epoch": 3, "model": model.state_dict(), "training": {"optimizer_state_dict": state}}
    torch.save(state if content == "alone" else inner, tmp_path / "state.pt")
    found = optimisers.adam(optimisers.read(tmp_path / "state.pt"), model)
    expected = optimisers.adam(state, model)
    for key, values in expected.preconditioner.items():
        torch.testing.assert_close(found.preconditioner[key], values, rtol=0, atol=0)


def test_a_diagonal_has_the_order_of_the_parameters_that_are_asked_for():
    model, optimiser, _ = trained(MAKERS["adam"])
    found = optimisers.adam(optimiser.state_dict(), model).preconditioner
    diagonal = optimisers.diagonal(found, [("alias", "2.bias"), ("0.weight",)])
    expected = torch.cat([found["2.bias"], found["0.weight"].reshape(-1)])
    torch.testing.assert_close(diagonal, expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"nothing on 4\.weight, which it has not stepped"):
        optimisers.diagonal(found, [("4.weight",)])


def test_parameters_without_a_gradient_have_none():
    model = network()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    model, optimiser, _ = trained(MAKERS["adam"], model=model)
    found = optimisers.adam(optimiser.state_dict(), model)
    assert list(found.preconditioner) == ["2.weight", "2.bias"]


def split(model, **second):
    layers = [{"params": model[0].parameters()}, {"params": model[2].parameters(), **second}]
    return torch.optim.Adam(layers)


def named_split(model):
    first, second = ([(n, p) for n, p in model.named_parameters() if n[0] == k] for k in "02")
    return torch.optim.Adam([{"params": first}, {"params": second, "lr": 0.5}])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (split, "without their names"),
        (named_split, "groups differ in lr"),
        (
            lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            "no betas|no eps",
        ),
        (lambda model: torch.optim.Adamax(model.parameters()), "no exp_avg_sq"),
    ],
)
def test_a_state_that_says_no_one_geometry_is_refused(make, words):
    model, optimiser, _ = trained(make)
    with pytest.raises(ValueError, match=words):
        optimisers.adam(optimiser.state_dict(), model)


def test_a_state_before_the_first_step_or_of_another_network_is_refused():
    model, optimiser, _ = trained(MAKERS["adam"])
    with pytest.raises(ValueError, match="no step yet"):
        optimisers.adam(MAKERS["adam"](model).state_dict(), model)
    other = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    with pytest.raises(ValueError, match=r"0\.weight has shape \(4, 5\), and the network has \(7"):
        optimisers.adam(optimiser.state_dict(), other)


def test_files_without_a_single_state_are_refused(tmp_path):
    path = tmp_path / "state.pt"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        optimisers.read(path)
    torch.save({"model": network().state_dict()}, path)
    with pytest.raises(ValueError, match="holds 0 states of optimisers"):
        optimisers.read(path)
    torch.save(network(), path)
    with pytest.raises(ValueError, match="more than tensors and numbers"):
        optimisers.read(path)
