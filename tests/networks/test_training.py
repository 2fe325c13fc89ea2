import copy
import dataclasses
import logging
import math

import pytest
import torch
import torch.nn.functional as F
from recipes import train

from truehessian.data import catalogue, dataset as datasets
from truehessian.networks import registry
from truehessian.networks.schedule import learning_rate_at
from truehessian.networks.training import evaluate

SETTINGS = {
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "augment": True,
    "seed": 0,
    "checkpoint_epochs": [0, 2, 4],
}


@pytest.fixture(scope="module")
def digits():
    return catalogue.fetch("digits", train_examples=97, test_examples=50)


def network(name="vgg"):
    """By default with dropout and batch normalisation: all that a resumed run has to restore."""
    arguments = {"vgg": {"width": 2, "depth": 11, "batch_norm": True}, "mlp": {"hidden": [8]}}
    return registry.build(name, num_classes=10, input_shape=(1, 8, 8), seed=0, **arguments[name])


def ignore(epoch, model):
    pass


def same_weights(first, second):
    theirs = second.state_dict()
    return all(tensor.equal(theirs[name]) for name, tensor in first.state_dict().items())


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.1), (150, 0.1), (210, 0.1 * (1 - 0.99 / 2)), (270, 0.001), (299, 0.001)],
)
def test_the_rate_is_constant_then_linear_then_one_hundredth(epoch, expected):
    assert learning_rate_at(epoch, 300, 0.1) == pytest.approx(expected, rel=1e-12)


def test_the_loss_falls_and_the_digits_are_recognised():
    dataset = catalogue.fetch("digits", train_examples=500)
    model = registry.build(
        "preresnet", num_classes=10, input_shape=(1, 8, 8), width=4, depth=8, seed=0
    )
    settings = SETTINGS | {"epochs": 6, "checkpoint_epochs": [], "augment": False}
    rows = train(model, dataset, on_checkpoint=ignore, **settings)
    assert [row["epoch"] for row in rows] == list(range(7))
    assert rows[0]["train_loss"] > math.log(10) * 0.8
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert rows[-1]["test_accuracy"] > 0.8
    assert not model.training


def test_one_step_on_all_examples_is_the_textbook_step(digits):
    """w - rate * (gradient + weight_decay * w): no momentum yet, the whole set as one batch."""
    model = network("mlp")
    inputs, targets = digits.train.batch(slice(None))
    before = copy.deepcopy(model)
    gradients = torch.autograd.grad(F.cross_entropy(before(inputs), targets), before.parameters())
    settings = SETTINGS | {"epochs": 1, "batch_size": 1000, "augment": False, "weight_decay": 0.1}
    settings["checkpoint_epochs"] = []
    rows = train(model, digits, on_checkpoint=ignore, **settings)
    for new, old, gradient in zip(model.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.05 * (gradient + 0.1 * old))
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-5)


def test_every_epoch_steps_at_its_scheduled_rate(digits):
    """Plain gradient descent on the whole set: w(epoch) = w(epoch - 1) - rate * gradient."""
    kept = {}
    settings = SETTINGS | {"batch_size": 97, "momentum": 0, "weight_decay": 0, "augment": False}
    settings["checkpoint_epochs"] = range(5)
    rows = train(
        network("mlp"),
        digits,
        **settings,
        on_checkpoint=lambda e, m: kept.update({e: copy.deepcopy(m)}),
    )
    inputs, targets = digits.train.batch(slice(None))
    for epoch in range(1, 5):
        rate = 0.05 * (1 - 0.99 * 0.625) if epoch == 4 else 0.05  # 3/4 of the way, 1/4 past half
        assert rows[epoch]["learning_rate"] == pytest.approx(rate)
        old, new = list(kept[epoch - 1].parameters()), list(kept[epoch].parameters())
        loss = F.cross_entropy(kept[epoch - 1](inputs), targets)
        for before, after, gradient in zip(old, new, torch.autograd.grad(loss, old), strict=True):
            torch.testing.assert_close(before - after, rate * gradient, rtol=1e-3, atol=1e-6)


def test_evaluation_is_the_mean_over_all_examples(digits):
    model = network()
    metrics = evaluate(model, digits.train)
    inputs, targets = digits.train.batch(slice(None))
    with torch.no_grad():
        logits = model.eval()(inputs)
    assert metrics.loss == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-5)
    correct = (logits.argmax(1) == targets).double().mean().item()
    assert metrics.measured["accuracy"] == pytest.approx(correct)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("fatal", [0, 2, 4])
def test_a_killed_run_resumes_to_the_same_bits(digits, tmp_path, fatal, device):
    settings = SETTINGS | {"device": device}
    undisturbed, resumed = network(), network()
    kept = {}
    expected = train(
        undisturbed,
        digits,
        **settings,
        on_checkpoint=lambda e, m: kept.update({e: copy.deepcopy(m)}),
    )

    def die(epoch, model):
        if epoch == fatal:
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(resumed, digits, **settings, on_checkpoint=die, state=state)
    torch.randn(5)  # whatever happens to the global generator in between
    again, seen = network(), {}
    rows = train(
        again,
        digits,
        **settings,
        on_checkpoint=lambda e, m: seen.update({e: copy.deepcopy(m)}),
        state=state,
    )
    assert without_seconds(rows) == without_seconds(expected)
    assert same_weights(again, undisturbed)
    assert sorted(seen) == [epoch for epoch in (0, 2, 4) if epoch >= fatal]
    assert all(same_weights(seen[epoch], kept[epoch]) for epoch in seen)


def test_a_finished_run_is_not_repeated(digits, tmp_path):
    state = tmp_path / "state.safetensors"
    first, second = network(), network()
    settings = SETTINGS | {"epochs": 1, "checkpoint_epochs": []}
    rows = train(first, digits, **settings, on_checkpoint=ignore, state=state)
    assert train(second, digits, **settings, on_checkpoint=ignore, state=state) == rows
    assert same_weights(first, second)
    assert not second.training


@pytest.mark.parametrize("kind", ["truncated", "of another network", "not a state"])
def test_a_state_that_cannot_be_used_is_reported_and_training_starts_afresh(
    digits, tmp_path, caplog, kind
):
    state = tmp_path / "state.safetensors"
    settings = SETTINGS | {"epochs": 1, "checkpoint_epochs": []}
    expected = train(network("mlp"), digits, **settings, on_checkpoint=ignore)
    other = network() if kind == "of another network" else network("mlp")
    train(other, digits, **settings, on_checkpoint=ignore, state=state)
    if kind == "truncated":
        state.write_bytes(state.read_bytes()[:-100])
    if kind == "not a state":
        datasets.save(state, digits)
    with caplog.at_level(logging.WARNING):
        rows = train(network("mlp"), digits, **settings, on_checkpoint=ignore, state=state)
    assert "training starts afresh" in caplog.text
    assert without_seconds(rows) == without_seconds(expected)


def test_the_seed_decides_everything_and_the_global_generator_is_left_alone(digits):
    results = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        model = network()
        torch.manual_seed(disturbance)
        before = torch.random.get_rng_state()
        settings = SETTINGS | {"epochs": 1, "seed": seed, "checkpoint_epochs": []}
        train(model, digits, **settings, on_checkpoint=ignore)
        assert torch.random.get_rng_state().equal(before)
        results.append(model)
    assert same_weights(results[0], results[1])
    assert not same_weights(results[0], results[2])


def test_epochs_differ_in_order_augmentation_and_dropout(digits):
    """With learning rate 0 the epochs' losses differ only by what is random in them."""
    for augment, name in ((True, "mlp"), (False, "vgg")):
        settings = SETTINGS | {"learning_rate": 0.0, "batch_size": 97, "augment": augment}
        rows = train(network(name), digits, **settings, on_checkpoint=ignore)
        losses = [round(row["train_loss"], 4) for row in rows[1:]]
        assert len(set(losses)) == len(losses)


def test_each_epoch_is_logged_in_one_line(digits, caplog):
    settings = SETTINGS | {"epochs": 2, "checkpoint_epochs": []}
    with caplog.at_level(logging.INFO, logger="truehessian.networks.training"):
        train(network("mlp"), digits, **settings, on_checkpoint=ignore)
    assert [record.getMessage()[:12] for record in caplog.records] == [
        "epoch 0 of 2",
        "epoch 1 of 2",
        "epoch 2 of 2",
    ]


def test_divergence_is_an_error_that_names_epoch_and_rate(digits):
    settings = SETTINGS | {"learning_rate": 1e30}
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1 at learning rate 1e\+30"):
        train(network("mlp"), digits, **settings, on_checkpoint=ignore)


@pytest.mark.parametrize("epoch", [-1, 5])
def test_checkpoints_outside_the_training_are_refused(digits, epoch):
    settings = SETTINGS | {"checkpoint_epochs": [0, epoch]}
    with pytest.raises(ValueError, match=f"between 0 and the 4 epochs of training, got {epoch}"):
        train(network("mlp"), digits, **settings, on_checkpoint=ignore)


def test_the_initialisation_is_a_checkpoint_like_any_other(digits):
    seen = []
    settings = SETTINGS | {"epochs": 0, "checkpoint_epochs": [0]}
    model = network("mlp")
    rows = train(
        model, digits, **settings, on_checkpoint=lambda e, m: seen.append((e, copy.deepcopy(m)))
    )
    assert [epoch for epoch, _ in seen] == [0]
    assert same_weights(seen[0][1], network("mlp"))
    assert rows[0]["learning_rate"] == 0
    assert rows[0]["train_loss"] == evaluate(model, digits.train).loss


def test_a_function_of_ones_own_augments_in_place_of_crops(digits):
    """The same function of every image is training on other images."""

    def inverted(image, generator):
        assert image.dtype == torch.uint8
        return 240 - image

    def trained(dataset, **how):
        model = network("mlp")
        rows = train(model, dataset, on_checkpoint=ignore, **SETTINGS | {"augment": True} | how)
        return model, rows[-1]["train_loss"]

    train_set = digits.train
    other = digits._replace(
        train=dataclasses.replace(train_set, inputs=240 - train_set.inputs), padding=0, flip=False
    )
    expected, loss = trained(other, augment=False)
    # Seeds of examples are drawn behind the order, so that both have the same order.
    found, own_loss = trained(digits, augmentation=inverted)
    assert same_weights(found, expected)
    assert own_loss == loss
    plain, _ = trained(digits, augmentation=inverted, augment=False)
    assert same_weights(plain, trained(digits, augment=False)[0])
    assert not same_weights(plain, found)


def test_a_function_of_ones_own_draws_anew_in_each_epoch(digits):
    drawn = []

    def noted(image, generator):
        drawn.append(torch.rand((), generator=generator).item())
        return image

    settings = SETTINGS | {"epochs": 2, "checkpoint_epochs": []}
    train(network("mlp"), digits, on_checkpoint=ignore, augmentation=noted, **settings)
    assert len(drawn) == len(set(drawn)) == 2 * len(digits.train)
    again, drawn[:] = list(drawn), []
    settings["batch_size"] = 50
    train(network("mlp"), digits, on_checkpoint=ignore, augmentation=noted, **settings)
    assert drawn == again, "whatever the batches"
