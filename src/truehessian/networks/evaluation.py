"""Loss and accuracy of a network on its data, and whether it has learned them at all."""

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import devices
from truehessian.data.dataset import Dataset
from truehessian.data.examples import Examples

logger = logging.getLogger(__name__)

COLUMNS = (
    "train_loss", "train_accuracy", "test_loss", "test_accuracy", "chance_accuracy", "at_chance",
)  # fmt: skip
_CHUNK = 512
_SIGNIFICANT = 3  # standard errors above chance from which on a network is said to have learned


class Metrics(NamedTuple):
    """Mean loss and fraction of correct predictions."""

    loss: float
    accuracy: float


class Total:
    """Running sums on the device, so that no step waits for the host."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.size = 0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Count a batch with the mean loss of its examples."""
        correct = (logits.argmax(1) == targets).sum()
        self.sums += torch.stack([loss.double() * len(targets), correct.double()])
        self.size += len(targets)

    def metrics(self) -> Metrics:
        """Divide by the number of examples."""
        return Metrics(*(self.sums / self.size).tolist())


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Examples,
    forward: Callable[[Tensor], Tensor] | None = None,
    *,
    chunk_size: int = _CHUNK,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Metrics:
    """Mean loss and accuracy over all examples; leaves the model in evaluation mode.

    `forward` gives the model's logits; by default the model itself does. `chunk_size` examples are
    taken at once. `loss` is (outputs, targets) -> scalar, the mean over the examples given.
    """
    model.eval()
    total = Total(examples.device)
    for inputs, targets in examples.chunks(chunk_size):
        logits = (forward or model)(inputs)
        total.add(loss(logits, targets), logits, targets)
    return total.metrics()


def of_checkpoint(
    model: nn.Module,
    dataset: Dataset,
    *,
    chunk_size: int,
    imported: bool,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> pd.DataFrame:
    """Evaluate a network on both splits, by running statistics and in float32.

    Weights of other data, or of images that were normalised otherwise, have curvature as well, and
    nothing in a spectrum tells. A warning is logged if imported weights recognise the training
    images no better than by chance.

    Parameters
    ----------
    model
        In evaluation mode, on the device of the data.
    dataset
        Both splits.
    chunk_size
        Examples per forward pass.
    imported
        Whether the weights were trained elsewhere.
    loss
        (outputs, targets) -> scalar, the mean over the examples given.

    Returns
    -------
    DataFrame
        One row with the columns of `COLUMNS`: mean losses, accuracies as fractions, the
        training accuracy of always guessing the most frequent class, and whether the network's is
        not significantly (three standard errors) above it.
    """
    with devices.deterministic_algorithms(tf32=False):
        train = evaluate(model, dataset.train, chunk_size=chunk_size, loss=loss)
        test = evaluate(model, dataset.test, chunk_size=chunk_size, loss=loss)
    chance = chance_accuracy(dataset.train)
    stuck = is_at_chance(train.accuracy, chance, len(dataset.train))
    logger.info("training loss %.4f (accuracy %.3f), test loss %.4f (accuracy %.3f)", *train, *test)
    if imported and stuck:
        logger.warning(
            "the weights recognise %.1f %% of the training images, not significantly more than "
            "guessing one class always (%.1f %%): unless they are initial ones, they do not belong "
            "to this data set, or to this normalisation (dataset.mean and dataset.std)",
            100 * train.accuracy,
            100 * chance,
        )
    return pd.DataFrame([(*train, *test, chance, stuck)], columns=list(COLUMNS))


def chance_accuracy(examples: Examples) -> float:
    """Give the accuracy of always guessing the most frequent class."""
    return examples.targets.unique(return_counts=True)[1].max().item() / len(examples)


def is_at_chance(accuracy: float, chance: float, num_examples: int) -> bool:
    """Tell whether an accuracy is not significantly above that of guessing."""
    error = math.sqrt(chance * (1 - chance) / num_examples)
    return not accuracy > chance + _SIGNIFICANT * error
