"""The Fisher matrix of targets that the network draws: a fixed matrix, and the GGN on average."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Pixels, Smooth, examples, for_each_pixel, network, one_hot
from conformance import COUNT, OperatorConformance
from dense import dense_ggn, dense_jacobian, prepared, some_vectors
from torch import nn

from truehessian.measurements import groups
from truehessian.operators import Fisher, Stream, sampled

CASES_OF_FISHER = ["smooth", "convolutional", "label smoothing", "squares", "pixels"]


def fisher(model, data, **settings):
    return Fisher(model, data, **{"precision": "float64", "chunk_size": 3, **settings})


def dense(operator):
    return operator @ torch.eye(operator.num_params, dtype=torch.float64)


def written_down(model, inputs, drawn, categorical):
    """The mean of g gᵀ over examples, draws, and the predictions of an example."""
    jacobian = dense_jacobian(model, inputs)  # (N, C, .., P)
    with torch.no_grad():
        outputs = prepared(model)[0](inputs)
    total = torch.zeros(jacobian.shape[-1], jacobian.shape[-1], dtype=torch.float64)
    for rows, z, targets in zip(jacobian, outputs, drawn, strict=True):
        for target in targets:
            if categorical:
                slope = z.softmax(0) - F.one_hot(target, len(z)).movedim(-1, 0)
            else:
                slope = 2 / z.numel() * (z - target)
            places = z[0].numel() if categorical else 1
            parts = rows.reshape(-1, places, rows.shape[-1]) * slope.reshape(-1, places, 1)
            gradients = parts.sum(0)  # (places, P)
            total += gradients.T @ gradients / places
    return total / drawn.shape[0] / drawn.shape[1]


def targets_of(operator):
    return torch.cat([drawn for _, drawn in operator.data.chunks(3, torch.float64)])


class TestFisher(OperatorConformance):
    def make(self, model, data, **settings):
        return Fisher(model, data, num_samples=2, seed=3, **settings)

    def dense(self, model, inputs, targets, loss):
        drawn = targets_of(
            Fisher(model, (inputs, targets), num_samples=2, seed=3, loss=loss, precision="float64")
        )
        return written_down(model, inputs, drawn, loss is not F.mse_loss)


@pytest.mark.parametrize("kept", [0, 10**9])
@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("name", CASES_OF_FISHER)
def test_it_is_the_mean_of_outer_products_of_gradients_at_its_targets(
    name, num_samples, kept, monkeypatch
):
    monkeypatch.setattr(sampled, "_KEPT", kept)
    case = CASES[name]
    operator = fisher(case.model(), case.data(5), loss=case.loss, num_samples=num_samples)
    got = dense(operator)
    exact = written_down(
        case.model(), case.data(5)[0], targets_of(operator), case.loss is not F.mse_loss
    )
    scale = exact.abs().max().item()
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10 * scale)
    torch.testing.assert_close(got, got.T, rtol=1e-10, atol=1e-10 * scale)
    assert torch.linalg.eigvalsh(got)[0] > -1e-10 * scale


@pytest.mark.parametrize("name", ["smooth", "squares", "pixels"])
def test_its_mean_over_draws_is_the_ggn(name):
    """Within five standard errors, in random directions and in that of the largest eigenvalue."""
    case = CASES[name]
    model, data = case.model(), case.data(6)
    exact = dense_ggn(model, *data, case.loss)
    generator = torch.Generator().manual_seed(4)
    directions = torch.randn(len(exact), 3, generator=generator, dtype=torch.float64)
    directions[:, 0] = torch.linalg.eigh(exact)[1][:, -1]
    forms = []
    for seed in range(60):
        operator = fisher(model, data, loss=case.loss, num_samples=10, seed=seed, chunk_size=6)
        forms.append((directions * (operator @ directions)).sum(0))
    values = torch.stack(forms)
    truth = (directions * (exact @ directions)).sum(0)
    errors = values.std(0) / len(values) ** 0.5
    assert (errors < 0.1 * truth).all()
    assert ((values.mean(0) - truth).abs() < 5 * errors).all()


def test_many_draws_come_close_to_the_ggn():
    model, data = network(Smooth), examples(6)
    exact = dense_ggn(model, *data) @ some_vectors(83)
    far, near = (
        (fisher(model, data, num_samples=count) @ some_vectors(83) - exact).norm()
        for count in (10, 1000)
    )
    assert near < 0.2 * far
    assert near < 0.1 * exact.norm()


def test_classes_are_drawn_as_often_as_the_softmax_says():
    head = nn.Linear(1, 4, bias=False).double()
    head.weight.data = torch.tensor([[0.0], [2.0], [-1e9], [1.0]]).double()
    inputs = torch.ones(1, 1, dtype=torch.float64)
    drawn = targets_of(fisher(head, (inputs, torch.tensor([2])), num_samples=20_000))
    often = torch.bincount(drawn.flatten(), minlength=4) / 20_000
    expected = head(inputs)[0].softmax(0).detach()
    assert often[2] == 0
    assert ((often - expected).abs() <= 5 * (expected * (1 - expected) / 20_000).sqrt()).all()


def test_draws_depend_on_the_seed_and_the_example_and_nothing_else():
    """Neither on the chunks nor on the targets, nor on the other examples."""
    model, (inputs, targets) = network(Smooth), examples(7)
    expected = targets_of(fisher(model, (inputs, targets), seed=1, num_samples=4))
    for data in (
        (inputs, 2 - targets),
        [(inputs[:5], targets[:5]), (inputs[5:], targets[5:])],
        Stream([(inputs[:2], targets[:2]), (inputs[2:], targets[2:])]),
    ):
        assert torch.equal(targets_of(fisher(model, data, seed=1, num_samples=4)), expected)
    fewer = targets_of(fisher(model, (inputs[:3], targets[:3]), seed=1, num_samples=4))
    assert torch.equal(fewer, expected[:3])
    other = targets_of(fisher(model, (inputs, targets), seed=2, num_samples=4))
    assert not torch.equal(other, expected)
    assert len({tuple(row.tolist()) for row in expected}) > 1


def test_examples_keep_their_draws_in_another_order():
    data = examples(8)
    for given in (data, [data, data]):
        operator = fisher(network(Smooth), given, num_samples=2)
        again = groups.of_random_examples(operator, 2, seed=0)
        torch.testing.assert_close(dense(again), dense(operator))


def test_a_lack_of_memory_while_drawing_is_met_by_halves(monkeypatch):
    model, data = network(Smooth), examples(7)
    expected = targets_of(fisher(model, data))
    operator = fisher(model, data)
    forward = type(operator.network).__call__

    def hungry(self, inputs, how=None):
        if len(inputs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, inputs, how)

    monkeypatch.setattr(type(operator.network), "__call__", hungry)
    assert torch.equal(targets_of(operator), expected)


def test_options_of_the_loss_have_no_part_in_it():
    model, data = network(Smooth), examples(5)
    smoothed = partial(F.cross_entropy, label_smoothing=0.3)
    torch.testing.assert_close(
        dense(fisher(model, data, loss=smoothed)), dense(fisher(model, data)), rtol=0, atol=0
    )


def test_it_says_how_its_targets_were_drawn():
    operator = fisher(network(Smooth), examples(4), num_samples=3, seed=5)
    assert operator.describe()["operator"] == "fisher"
    assert (operator.describe()["num_samples"], operator.describe()["sampling_seed"]) == (3, 5)
    assert repr(operator) == "Fisher(Smooth, P=83, N=4, loss=cross_entropy, float64, cpu)"


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"num_samples": 0}, ValueError, "num_samples must be a whole number"),
        ({"num_samples": 1.5}, ValueError, "num_samples must be a whole number"),
        ({"seed": "a"}, TypeError, "must be integers"),
        ({"loss": F.nll_loss}, ValueError, "cross_entropy or mse_loss.*got nll_loss.*ggn"),
        ({"loss": nn.CrossEntropyLoss(torch.ones(3))}, ValueError, "no weights of classes"),
        ({"loss": partial(F.mse_loss, reduction="sum")}, ValueError, "reduction='mean'"),
        ({"batchnorm": "train"}, ValueError, "no gradient of a single example"),
    ],
)
def test_what_has_no_distribution_of_targets_is_refused(settings, error, words):
    with pytest.raises(error, match=words):
        fisher(network(Smooth), examples(4), **settings)


class Pair(Smooth):
    """Two outputs."""

    def forward(self, inputs):
        return super().forward(inputs), inputs


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Pair, "output is one tensor"),
        (lambda: nn.Sequential(*Smooth(), nn.Flatten(0)), "first axis must count examples"),
        (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(64, 4)), "logits of shape"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(make, words):
    operator = fisher(network(make), examples(4), chunk_size=4)
    with pytest.raises(ValueError, match=words):
        operator @ torch.ones(operator.num_params)


def test_a_network_that_draws_at_random_is_refused():
    class Dropping(Smooth):
        def forward(self, inputs):
            return super().forward(F.dropout(inputs, training=True))

    operator = fisher(network(Dropping), examples(COUNT))
    with pytest.raises(ValueError, match="draws random numbers"):
        operator @ torch.ones(operator.num_params)


def test_pixels_are_predictions_of_their_own():
    """The matrix of a picture is the mean of those of its pixels, not their product."""
    inputs, classes = examples(2)
    operator = fisher(network(Pixels), (inputs, for_each_pixel(classes)), num_samples=2)
    assert targets_of(operator).shape == (2, 2, 4, 4)
    squares = fisher(network(Smooth), (inputs, one_hot(classes)), loss=F.mse_loss, num_samples=2)
    assert targets_of(squares).shape == (2, 2, 3)
