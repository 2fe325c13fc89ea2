"""Diagonal blocks by groups of parameters, against the blocks of dense matrices."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import CASES, Attention, Convolutional, Tied, examples, network
from conformance import close
from dense import block_diagonal, dense_fisher, dense_ggn, dense_hessian, some_vectors
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from truehessian.networks.parameters import grouped, layers, named
from truehessian.operators import (
    GGN,
    CompiledHessian,
    DiagonalBlocks,
    EmpiricalFisher,
    Fisher,
    GradientCovariance,
    Hessian,
)

DOCS = Path(__file__).parents[2] / "docs/layers.md"
HALVES = {"front": ["conv.*", "norm.*"], "head": ["head.*"]}


def blocks_of(model, data, groups="layers", kind=Hessian, **settings):
    return DiagonalBlocks(kind(model, data, precision="float64", **settings), groups)


@pytest.mark.parametrize(
    ("kind", "memory"), [(Hessian, None), (Hessian, 0), (GGN, None)], ids=["kept", "anew", "ggn"]
)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layers_are_the_blocks_of_the_dense_matrix(case, kind, memory):
    """With whatever a network is made of: batch norm, tied weights, attention, recurrence."""
    model, data = case.model(), case.data(7)
    settings = {"loss": case.loss, "chunk_size": 3, "memory": memory}
    operator = blocks_of(model, data, kind=kind, **settings)
    groups = layers(names for names, _ in named(model))
    assert list(operator.groups) == list(groups)
    dense = dense_hessian if kind is Hessian else dense_ggn
    exact = block_diagonal(dense(model, *data, case.loss), model, groups)
    vectors = some_vectors(len(exact))
    for _ in range(2):
        close(operator @ vectors, exact @ vectors, 1e-8)


def test_the_sum_over_layers_of_their_traces_is_the_trace():
    model, data = network(Attention), examples(5)
    operator = blocks_of(model, data)
    whole = dense_hessian(model, *data)
    close((operator @ torch.eye(len(whole))).trace(), whole.trace())
    assert sum(operator.groups.values()) == len(whole)


def test_each_group_has_as_many_vectors_of_its_own_as_are_asked_for():
    model, data = network(Convolutional), examples(6)
    for kind, dense in (
        (Hessian, dense_hessian),
        (GGN, dense_ggn),
        (EmpiricalFisher, dense_fisher),
    ):
        operator = blocks_of(model, data, HALVES, kind)
        exact = dense(model, *data)
        names = [name for name, p in model.named_parameters() for _ in range(p.numel())]
        own = {
            "front": [not name.startswith(("head", "unused")) for name in names],
            "head": [name.startswith("head") for name in names],
        }
        for wanted in (["head"], ["front", "head", "front"], ["front", "front", "head"]):
            vectors = [torch.randn(operator.groups[name]).double() for name in wanted]
            products = operator.products(zip(wanted, vectors, strict=True))
            for name, vector, product in zip(wanted, vectors, products, strict=True):
                mask = torch.tensor(own[name])
                close(product, exact[mask][:, mask] @ vector)


class _Counting(TorchDispatchMode):
    """Counts gradients of weights of convolutions, and calls of their kernels."""

    def __init__(self):
        super().__init__()
        self.weights = self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.weights += args[-1][1]
            self.calls += 1
        self.calls += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


def counted(operator, vectors):
    operator.products(vectors)  # makes the graph
    with _Counting() as counting:
        operator.products(vectors)
    return counting


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_block_needs_the_gradients_of_its_own_weights_only(batch_norm):
    model = nn.Sequential(
        *(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2) if batch_norm else nn.Tanh(), nn.ReLU()),
        *(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 3, 4), nn.Flatten()),
    )
    operator = blocks_of(model, examples(4))
    ones = {name: torch.ones(size) for name, size in operator.groups.items()}
    first, middle, last = (counted(operator, [(name, ones[name])]) for name in ("0", "3", "5"))
    assert (first.weights, middle.weights, last.weights) == (1, 1, 1)
    assert first.calls > middle.calls > last.calls  # a block passes through what is behind it
    everything = counted(operator, ones.items())
    assert everything.weights == 3
    assert operator.describe()["differentiation"] == "by rules"


def test_nothing_is_computed_for_groups_whose_vectors_are_zero():
    operator = blocks_of(network(Convolutional), examples(4), HALVES)
    zero = torch.zeros(operator.groups["front"])
    counting = counted(operator, [("front", zero), ("head", torch.ones(operator.groups["head"]))])
    assert counting.calls == 0


def test_tied_weights_are_of_the_layer_of_their_first_name_and_found_by_any():
    model = network(Tied)
    model.again = model.layer
    operator = blocks_of(model, examples(4))
    assert list(operator.groups) == ["layer", "head"]
    assert list(blocks_of(model, examples(4), {"it": ["again.*"]}).groups.values()) == [16 * 17]


def test_parameters_of_the_network_itself_are_a_group_of_it():
    names = [("cls_token",), ("block.0.weight",), ("block.0.bias",), ("head[1].weight",)]
    found = grouped(names, "layers")
    assert found == {"(network)": [0], "block.0": [1, 2], "head[1]": [3]}


def test_frozen_parameters_count_and_groups_lie_within_the_parameters_of_the_operator():
    model, data = network(Convolutional), examples(4)
    assert blocks_of(model, data).groups["head"] == 24 + 3  # its bias is frozen
    operator = blocks_of(model, data, parameters=["*.weight"])
    assert operator.groups == {"conv": 18, "norm": 2, "unused": 4, "head": 24}
    assert blocks_of(model, data, parameters="trainable").groups["head"] == 24


def test_batch_statistics_give_blocks_of_the_matrix_of_their_chunks():
    model, data = network(Convolutional), examples(8)
    settings = {"batchnorm": "train", "precision": "float64", "chunk_size": 4}
    whole = Hessian(model, data, **settings)
    exact = whole @ torch.eye(whole.num_params)
    operator = DiagonalBlocks(whole, HALVES)
    close(operator @ torch.eye(whole.num_params), block_diagonal(exact, model, HALVES))


def test_a_fisher_matrix_has_the_blocks_of_its_own_draws():
    model, data = network(Convolutional), examples(6)
    whole = Fisher(model, data, precision="float64", num_samples=3, seed=1)
    exact = whole @ torch.eye(whole.num_params)
    operator = DiagonalBlocks(whole, HALVES)
    close(operator @ torch.eye(whole.num_params), block_diagonal(exact, model, HALVES))
    assert operator.describe()["sampling_seed"] == 1


def test_blocks_say_which_matrix_and_which_groups_they_are_of():
    operator = blocks_of(network(Convolutional), examples(4), HALVES)
    told = operator.describe()
    assert (told["operator"], told["groups"]) == ("hessian", {"front": 24, "head": 27})
    assert repr(operator).startswith("DiagonalBlocks(hessian, 2 groups, ")


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({"a": ["head.*"], "b": ["*.bias"]}, "'a' and 'b' share the parameter 'head.bias'"),
        ({"a": ["haed.weight"]}, "of the group 'a'; did you mean 'head.weight'?"),
        ({"a": ["nothing"]}, "of the group 'a'; the network has conv.weight, conv.bias"),
        ({}, "groups must be patterns of parameters by name, or 'layers', got {}"),
        ("layer", "groups must be patterns of parameters by name, or 'layers', got 'layer'"),
    ],
)
def test_groups_that_are_none_are_refused(groups, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        blocks_of(network(Convolutional), examples(2), groups)


def test_a_text_is_no_sequence_of_patterns():
    with pytest.raises(TypeError, match=r"write \['head\.\*'\]"):
        blocks_of(network(Convolutional), examples(2), {"a": "head.*"})


@pytest.mark.parametrize("kind", [CompiledHessian, GradientCovariance])
def test_operators_without_such_graphs_are_refused(kind):
    with pytest.raises(TypeError, match=f"got a {kind.__name__}; restrict it by `parameters`"):
        DiagonalBlocks(kind(network(Convolutional), examples(2)), "layers")


def test_trainable_parameters_are_those_that_require_gradients():
    model, data = network(Convolutional), examples(6)
    model.conv.requires_grad_(False)
    operator = Hessian(model, data, parameters="trainable", precision="float64")
    names = [(name, p) for name, p in model.named_parameters() for _ in range(p.numel())]
    mask = torch.tensor([p.requires_grad for _, p in names])
    exact = dense_hessian(model, *data)[mask][:, mask]
    close(operator @ torch.eye(len(exact)), exact)
    assert operator.describe()["num_left_out"] == 20 + 3
    assert "num_left_out" not in Hessian(model, data).describe()
    assert not model.conv.weight.requires_grad
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient"):
        Hessian(model, data, parameters="trainable")


def test_the_penalty_on_the_weights_is_on_the_diagonal_of_every_block():
    model, data = network(Convolutional), examples(4)
    operator = blocks_of(model, data, HALVES, weight_decay=0.25, chunk_size=3)
    exact = block_diagonal(dense_hessian(model, *data), model, HALVES)
    identity = torch.eye(len(exact)).double()
    close(operator @ identity, exact + 0.25 * identity)
    (product,) = operator.products([("head", torch.ones(27))])
    close(product, exact[-27:, -27:].sum(1) + 0.25)


def test_layers_between_piecewise_linear_activations_have_the_blocks_of_the_gauss_newton_matrix():
    """The outputs are piecewise linear in the parameters of any one layer, and not of two."""
    model, data = network(Convolutional), examples(6)
    identity = torch.eye(sum(p.numel() for p in model.parameters())).double()
    hessian, ggn = (blocks_of(model, data, kind=kind) @ identity for kind in (Hessian, GGN))
    close(hessian, ggn)
    assert (dense_hessian(model, *data) - dense_ggn(model, *data)).norm() > 0.1 * ggn.norm()


def test_the_example_of_the_documentation_runs():
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "layers.1 Spectrum: hessian, P = 1,040" in done.stdout
