"""What losses measure, and means by their weights, over chunks of any size: against definitions."""

import logging
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recipes import train
from torch import nn

from truehessian.data.dataset import Dataset
from truehessian.data.examples import Examples
from truehessian.networks import evaluation
from truehessian.networks.forward import Forward
from truehessian.networks.losses import base, measures
from truehessian.networks.losses.objective import Objective

COUNT = 23
CHUNKS = [1, 2, 7, COUNT]
DRAW = torch.Generator().manual_seed(0)


class Heads(nn.Module):
    """Linear outputs of a given shape, of one tensor or of several by name, as a mapping or not."""

    def __init__(self, *shape, mapping=False):
        super().__init__()
        self.shape, self.mapping = shape, mapping
        self.linear = nn.Linear(4, math.prod(shape))

    def forward(self, x, extra=None):
        outputs = self.linear(x if extra is None else x + extra).unflatten(1, self.shape)
        return {"hidden": x, "logits": outputs} if self.mapping else outputs


class Tokens(nn.Module):
    """A language model of 6 tokens that knows the last one only."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 6)

    def forward(self, input_ids):
        return {"logits": self.embedding(input_ids)}


def drawn(*shape, high=None):
    if high is None:
        return torch.randn(*shape, generator=DRAW)
    return torch.randint(0, high, shape, generator=DRAW)


def with_gaps(targets, ignored, *, empty=(3, 4)):
    """A third of the targets do not count, and nothing of the examples `empty`."""
    targets = targets.where(torch.rand(targets.shape, generator=DRAW) > 0.33, ignored)
    targets[list(empty)] = ignored
    return targets


def shapes_of_problems():
    """Loss, network, inputs and targets of every kind of built-in loss."""
    x = drawn(COUNT, 4)
    tokens = drawn(COUNT, 5, high=6)
    padded = tokens.clone()
    padded[:, 3:] = padded[:, 3:].where(drawn(COUNT, 2) > 0, -100)
    padded[[3, 4], 1:] = -100
    weight = [0.5, 2.0, 0.0]
    gapped = with_gaps(drawn(COUNT, high=3), -100)
    often = torch.rand(COUNT, 2, generator=DRAW) < torch.tensor([0.9, 0.1])
    labels = with_gaps(often.float(), -1.0)
    return {
        "classes": (base.made("cross_entropy"), Heads(3), x, drawn(COUNT, high=3)),
        "ignored classes": (base.made("cross_entropy"), Heads(3), x, gapped),
        "weighted": (base.made("cross_entropy", {"weight": weight}), Heads(3), x, gapped),
        "pixels": (
            base.made("cross_entropy", {"ignore_index": 9, "class_axis": 1}),
            Heads(3, 2, 2, mapping=True),
            {"x": x, "extra": drawn(COUNT, 4)},
            with_gaps(drawn(COUNT, 2, 2, high=3), 9),
        ),
        "probabilities": (base.made("cross_entropy"), Heads(3), x, drawn(COUNT, 3).softmax(1)),
        "tokens": (base.made("next_token"), Tokens(), {"input_ids": tokens}, padded),
        "log-probabilities": (
            base.made("nll_loss", {"weight": weight}),
            nn.Sequential(Heads(3), nn.LogSoftmax(1)),
            x,
            gapped,
        ),
        "labels": (
            base.made("binary_cross_entropy", {"ignore_index": -1, "pos_weight": [1.0, 3.0]}),
            Heads(2),
            (x, drawn(COUNT, 4)),
            labels,
        ),
        "one label": (base.made("binary_cross_entropy"), Heads(1), x, drawn(COUNT, high=2)),
        "number": (base.made("mse"), Heads(1), x, drawn(COUNT) + 3),
        "numbers": (base.made("mse"), Heads(2, 2), x, drawn(COUNT, 2, 2) * 2 - 1),
    }


PROBLEMS = shapes_of_problems()


def by_definition(name, outputs, targets):
    """Loss, measure and chance of all examples at once, in NumPy and in words of the definition."""
    y = targets.numpy()
    if name in ("number", "numbers"):
        f = outputs.double().reshape(targets.shape).numpy()
        around = ((y - y.mean(0)) ** 2).sum()
        return ((y - f) ** 2).mean(), 1 - ((y - f) ** 2).sum() / around, 0.0
    if name in ("labels", "one label"):
        z = outputs.double().reshape(targets.shape).numpy()
        known, yes = y != -1, y == 1
        factor = np.where(yes, [1.0, 3.0] if name == "labels" else 1.0, 1.0)
        losses = factor * np.logaddexp(0, np.where(yes, -z, z))
        columns = zip(yes.reshape(COUNT, -1).T, known.reshape(COUNT, -1).T, strict=True)
        most = sum(max((c & k).sum(), (~c & k).sum()) for c, k in columns)
        right = ((z > 0) == yes)[known].mean()
        return losses[known].mean(), right, most / known.sum()
    z = outputs.double().numpy()
    if name == "tokens":
        z, y = z[:, :-1], y[:, 1:]
    if name == "pixels":
        z = np.moveaxis(z, 1, -1)
    logs = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
    if name == "probabilities":
        loss, y = -(logs * y).sum(-1).mean(), y.argmax(-1)
        return loss, (z.argmax(-1) == y).mean(), np.bincount(y).max() / COUNT
    counts = y != (9 if name == "pixels" else -100)
    weights = counts * 1.0
    if name in ("weighted", "log-probabilities"):
        weights *= np.array([0.5, 2.0, 0.0])[np.where(counts, y, 0)]
    picked = np.take_along_axis(logs, np.where(counts, y, 0)[..., None], -1)[..., 0]
    seen = weights > 0
    right, often = (z.argmax(-1) == y)[seen].mean(), np.bincount(y[seen]).max() / seen.sum()
    return -(weights * picked).sum() / weights.sum(), right, often


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_loss_and_measure_are_those_of_all_examples_whatever_the_chunks(name, chunk_size):
    """Examples 3 and 4 count for nothing in some: as chunks of one and two they have no loss."""
    loss, model, inputs, targets = PROBLEMS[name]
    examples = Examples(inputs, targets)
    with torch.no_grad():
        outputs = base.logits_of(Forward(model, "cpu")(inputs))
    mean, value, chance = by_definition(name, outputs, targets)
    found = evaluation.evaluate(model, examples, chunk_size=chunk_size, loss=loss)
    assert found.loss == pytest.approx(mean, rel=1e-5)
    (measure,) = found.measured
    assert measure == ("r_squared" if "number" in name else "accuracy")
    assert found.measured[measure] == pytest.approx(value, rel=1e-5)
    assert found.chance[measure] == pytest.approx(chance, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 23])
@pytest.mark.parametrize("name", PROBLEMS)
def test_training_reports_the_mean_by_weights_and_never_steps_on_nothing(name, batch_size):
    """At a rate of (nearly) zero all batches have the loss of the initial weights."""
    loss, model, inputs, targets = PROBLEMS[name]
    examples = Examples(inputs, targets)
    data = Dataset("made", examples, examples, 3, 0, False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    settings = {"learning_rate": 1e-12, "momentum": 0.9, "weight_decay": 0.0, "augment": False}
    rows = train(
        model,
        data,
        **settings,
        epochs=1,
        batch_size=batch_size,
        seed=0,
        loss=loss,
        checkpoint_epochs=[],
        on_checkpoint=lambda epoch, model: None,
    )
    keys = list(rows[0])
    measure = "r_squared" if "number" in name else "accuracy"
    assert keys == [
        *("epoch", "learning_rate", "train_loss", f"train_{measure}"),
        *("test_loss", f"test_{measure}", "seconds"),
    ]
    for key in keys[2:4]:
        assert rows[1][key] == pytest.approx(rows[0][key], rel=1e-5)
        assert math.isfinite(rows[1][key])
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-9)


def test_a_batch_in_which_nothing_counts_moves_nothing():
    """Of three examples one counts: there is one step, and neither momentum nor decay goes on."""
    model, inputs = Heads(3), drawn(3, 4)
    targets = torch.tensor([-100, 1, -100])
    before = {key: value.clone() for key, value in model.named_parameters()}
    value = F.cross_entropy(model(inputs[1:2]), targets[1:2])
    gradients = torch.autograd.grad(value, list(model.parameters()))
    examples = Examples(inputs, targets)
    rates = {"learning_rate": 0.5, "momentum": 0.9, "weight_decay": 0.1}
    train(
        model,
        Dataset("made", examples, examples, 3, 0, False),
        **rates,
        augment=False,
        epochs=1,
        batch_size=1,
        seed=0,
        checkpoint_epochs=[],
        on_checkpoint=lambda epoch, model: None,
    )
    for (key, after), gradient in zip(model.named_parameters(), gradients, strict=True):
        expected = before[key] - 0.5 * (gradient + 0.1 * before[key])
        torch.testing.assert_close(after.detach(), expected)


def test_examples_of_which_nothing_counts_are_refused_and_not_divided_by():
    examples = Examples(drawn(5, 4), torch.full((5,), -100))
    with pytest.raises(ValueError, match="no example counts in the loss CrossEntropy, such as"):
        evaluation.evaluate(Heads(3), examples, loss=base.made("cross_entropy"))


class Poisson:
    """A loss of one's own with weights and with a measure of its own."""

    class Deviation(measures.Measure):
        name = "absolute_deviation"

        def sums(self, outputs, targets):
            return -(outputs.exp() - targets).abs().sum(), torch.tensor(len(targets))

    measure = Deviation()

    def __call__(self, outputs, targets):
        weights = self.weights(targets)
        return (
            F.poisson_nll_loss(outputs, targets, reduction="none") * weights
        ).sum() / weights.sum()

    def weights(self, targets):
        return 1.0 + targets.double()


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_a_loss_of_ones_own_says_its_weights_and_its_measure(chunk_size):
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    counts = drawn(COUNT, high=4).float()
    inputs = drawn(COUNT, 4)
    found = evaluation.evaluate(
        model, Examples(inputs, counts), chunk_size=chunk_size, loss=Poisson()
    )
    with torch.no_grad():
        logs = model(inputs).double()
    weights = 1 + counts.double()
    expected = (weights * (logs.exp() - counts * logs)).sum() / weights.sum()
    assert found.loss == pytest.approx(expected.item(), rel=1e-5)
    deviation = -(logs.exp() - counts).abs().mean().item()
    assert found.measured == {"absolute_deviation": pytest.approx(deviation, rel=1e-5)}
    assert (found.chance, found.at_chance) == ({}, None)


def own_of_classes(outputs, targets):
    return F.cross_entropy(outputs, targets) + outputs.square().mean()


def own_of_numbers(outputs, targets):
    return (outputs - targets).abs().mean()


def test_a_loss_that_says_nothing_has_the_accuracy_where_it_looks_like_one_of_classes():
    x, classes = drawn(COUNT, 4), drawn(COUNT, high=3)
    model = Heads(3)
    found = evaluation.evaluate(model, Examples(x, classes), loss=own_of_classes)
    right = (model(x).argmax(1) == classes).double().mean().item()
    assert found.measured == {"accuracy": pytest.approx(right)}
    assert set(found.chance) == {"accuracy"}
    for targets, heads in ((drawn(COUNT, 3), 3), (drawn(COUNT, 1, high=3), 3), (classes, 1)):
        nothing = evaluation.evaluate(Heads(heads), Examples(x, targets), loss=own_of_numbers)
        assert (nothing.measured, nothing.at_chance) == ({}, None)


def test_without_a_measure_tables_have_losses_alone(caplog):
    x = drawn(COUNT, 4)
    examples = Examples(x, drawn(COUNT, 3))
    data = Dataset("made", examples, examples, 3, 0, False)
    with caplog.at_level(logging.INFO):
        frame = evaluation.of_checkpoint(
            Heads(3), data, chunk_size=8, imported=True, loss=own_of_numbers
        )
    assert list(frame) == ["train_loss", "test_loss"]
    assert "(" not in caplog.messages[0]


def test_a_measure_with_a_name_that_is_none_is_refused():
    class Named(measures.Accuracy):
        name = "loss"

    loss = base.made("cross_entropy")
    for measure, sentence in (
        (Named(loss), "must have a name of letters, digits and underscores other than 'loss'"),
        ("accuracy", "must be a truehessian.networks.losses.measures.Measure, got str"),
    ):

        def own(outputs, targets):
            return F.cross_entropy(outputs, targets)

        own.measure = measure
        with pytest.raises(ValueError, match=f"measure of the loss own {sentence}"):
            Objective(own, torch.zeros(3)).measure(torch.zeros(3, 2), torch.zeros(3))


@pytest.mark.parametrize("imported", [True, False])
def test_imported_weights_that_explain_nothing_are_reported(imported, caplog):
    """A correlation of three standard errors explains 9 / N; noise explains less than nothing."""
    x = drawn(400, 4)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + 5
    examples = Examples(x, y)
    data = Dataset("made", examples, examples, 1, 0, False)
    knowing, guessing = nn.Linear(4, 1), nn.Linear(4, 1)
    with torch.no_grad():
        knowing.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 0.0]]))
        knowing.bias.fill_(5.0)
        guessing.weight.zero_()
        guessing.bias.fill_(y.mean())
    for model, value, stuck in ((knowing, 1.0, False), (guessing, 0.0, True)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            frame = evaluation.of_checkpoint(
                model, data, chunk_size=64, imported=imported, loss=base.made("mse")
            )
        assert frame["train_r_squared"].item() == pytest.approx(value, abs=1e-6)
        assert frame["chance_r_squared"].item() == 0.0
        assert frame["at_chance"].tolist() == [stuck]
        assert ("a training r squared of" in caplog.text) == (stuck and imported)


def test_what_a_correlation_of_three_standard_errors_explains_is_no_knowledge():
    """The best multiple of a prediction explains the squared correlation, here just 9 / N."""
    measure = base.made("mse").measure
    assert measure.is_at_chance(9 / 400, 0.0, 400)
    assert not measure.is_at_chance(9 / 400 + 1e-9, 0.0, 400)
    assert measure.is_at_chance(-5.0, 0.0, 400)
    assert measure.is_at_chance(math.nan, 0.0, 400)


def test_targets_that_are_all_alike_have_no_variance_to_explain():
    measure = base.made("mse").measure
    targets = torch.full((5, 2), 3.0)
    total, count = measure.sums(torch.zeros(5, 2), targets)
    assert (total.item(), count.item()) == (90.0, 5)
    assert math.isnan(measure.value(total.item(), count.item(), targets))
