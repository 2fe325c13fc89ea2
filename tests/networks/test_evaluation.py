"""Loss and accuracy of checkpoints, and the warning of weights that belong to other data."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recipes import train

from truehessian.data import catalogue
from truehessian.networks import evaluation, registry
from truehessian.networks.losses.cross_entropy import CrossEntropy

SETTINGS = {
    "epochs": 20,
    "batch_size": 32,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "augment": False,
    "seed": 0,
    "checkpoint_epochs": [],
    "on_checkpoint": lambda epoch, model: None,
}


@pytest.fixture(scope="module")
def digits():
    return catalogue.fetch("digits", train_examples=200, test_examples=100)


@pytest.fixture(scope="module")
def trained(digits):
    model = registry.build("mlp", num_classes=10, input_shape=(1, 8, 8), hidden=[16], seed=0)
    train(model, digits, **SETTINGS)
    return model


@pytest.mark.parametrize("chunk_size", [7, 200])
def test_loss_and_accuracy_are_those_of_all_examples(digits, trained, chunk_size):
    """Against float64, in one pass; accuracies are exact fractions."""
    row = evaluation.of_checkpoint(trained, digits, chunk_size=chunk_size, imported=False).iloc[0]
    for split in ("train", "test"):
        examples = getattr(digits, split)
        inputs, targets = examples.batch(slice(None), torch.float64)
        with torch.no_grad():
            logits = trained.double()(inputs)
        trained.float()
        expected = F.cross_entropy(logits, targets).item()
        assert row[f"{split}_loss"] == pytest.approx(expected, rel=1e-4)
        correct = (logits.argmax(1) == targets).sum().item()
        assert row[f"{split}_accuracy"] * len(targets) == pytest.approx(correct)
    counts = np.bincount(digits.train.targets.numpy())
    assert row["chance_accuracy"] * 200 == pytest.approx(counts.max())


def test_imported_weights_that_know_nothing_are_reported(digits, trained, caplog):
    fresh = registry.build("mlp", num_classes=10, input_shape=(1, 8, 8), hidden=[16], seed=1)
    for model, imported, at_chance, said in (
        (trained, True, False, False),
        (fresh, True, True, True),
        (fresh, False, True, False),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            frame = evaluation.of_checkpoint(model, digits, chunk_size=64, imported=imported)
        assert frame["at_chance"].tolist() == [at_chance]
        assert ("not significantly above that of guessing" in caplog.text) == said


def test_weights_of_other_normalisation_lose_their_accuracy(digits, trained):
    """The case for which loss and accuracy are shown: nothing in a spectrum would tell."""
    plain = catalogue.fetch("digits", train_examples=200, test_examples=100, mean=[6], std=[0.1])
    before, after = (
        evaluation.of_checkpoint(trained, data, chunk_size=64, imported=False).iloc[0]
        for data in (digits, plain)
    )
    assert before["train_accuracy"] > 0.9
    assert after["train_accuracy"] < 0.5
    assert after["train_loss"] > before["train_loss"] + 1


def test_guessing_is_told_from_knowing_by_three_standard_errors():
    """Of 400 fair guesses among two classes, 200 are right, with a standard error of 10."""
    accuracy = CrossEntropy().measure
    assert accuracy.is_at_chance(230 / 400, 0.5, 400)
    assert not accuracy.is_at_chance(231 / 400, 0.5, 400)
    assert accuracy.is_at_chance(0.1, 0.5, 400)
    assert accuracy.is_at_chance(float("nan"), 0.5, 400)
