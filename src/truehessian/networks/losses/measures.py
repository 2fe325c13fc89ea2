"""What the task of a loss measures beside it, such as how often a network is right."""

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from truehessian.data.trees import Tree

_SIGNIFICANT = 3  # standard errors above chance from which on a network is said to have learned


class Measure(ABC):
    """A score of predictions, the larger the better, which adds up over batches.

    Attributes
    ----------
    name
        As in the columns `train_{name}` and `test_{name}`, such as accuracy.
    """

    name: str

    @abstractmethod
    def sums(self, outputs: Any, targets: Tree) -> tuple[Tensor, Tensor | int]:
        """Give the sum of the scores of a batch, and how many predictions it is of."""

    def value(self, total: float, count: float, targets: Tree) -> float:
        """Make the value of all examples of the sums of their batches; `targets` are all of theirs.

        By default it is the mean score, NaN of no predictions.
        """
        del targets
        return total / count if count else math.nan

    def chance(self, targets: Tree) -> float | None:
        """Give the value of what is best to predict without inputs; None where it is not known."""
        del targets
        return None

    def is_at_chance(self, value: float, chance: float, count: float) -> bool:
        """Tell whether a value is not significantly above that of chance."""
        del count
        return not value > chance


class Choices(Protocol):
    """A loss of predictions that are right or wrong."""

    def chosen(self, outputs: Any, targets: Tensor) -> Tensor:
        """Give what a network decides on, in the shape of `right`."""

    def right(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Give what is right, and where it counts."""


class Accuracy(Measure):
    """The fraction of right predictions, of those that count, each as one.

    Parameters
    ----------
    of
        What the predictions are.
    """

    name = "accuracy"

    def __init__(self, of: Choices) -> None:
        self.of = of

    def sums(self, outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Count the right predictions, and all that count."""
        right, counted = self.of.right(targets)
        return ((self.of.chosen(outputs, targets) == right) & counted).sum(), counted.sum()

    def chance(self, targets: Tensor) -> float:
        """Give the accuracy of always guessing the most frequent class."""
        right, counted = self.of.right(targets)
        frequencies = right[counted].unique(return_counts=True)[1]
        return frequencies.max().item() / int(counted.sum()) if len(frequencies) else math.nan

    def is_at_chance(self, value: float, chance: float, count: float) -> bool:
        """Tell whether it is at most three standard errors above, of independent predictions."""
        error = math.sqrt(chance * (1 - chance) / count)
        return not value > chance + _SIGNIFICANT * error


class LabelAccuracy(Accuracy):
    """The fraction of right answers to questions with yes or no, several for each example."""

    def chance(self, targets: Tensor) -> float:
        """Give the accuracy of always guessing the more frequent answer to each question."""
        right, counted = self.of.right(targets)
        yes, known = (right & counted).sum(0), counted.sum(0)
        most = torch.maximum(yes, known - yes).sum().item()
        return most / int(known.sum()) if bool(counted.any()) else math.nan


class RSquared(Measure):
    """The share of the targets' variance that is explained: 1 - sum |y - f|² / sum |y - mean|².

    The mean is that of the same examples' targets, of each number to predict by itself; over
    several numbers both sums are taken together. NaN where all targets are alike.
    """

    name = "r_squared"

    def sums(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Give the sum of squared errors in float64, and the number of examples."""
        errors = outputs.double().reshape(targets.shape) - targets.double()
        return errors.square().sum(), torch.full((), len(targets), device=targets.device)

    def value(self, total: float, count: float, targets: Tensor) -> float:
        """Relate squared errors to those of the mean."""
        del count
        numbers = targets.double()
        around = (numbers - numbers.mean(0)).square().sum().item()
        return 1 - total / around if around else math.nan

    def chance(self, targets: Tensor) -> float:
        """Give that of the mean."""
        del targets
        return 0.0

    def is_at_chance(self, value: float, chance: float, count: float) -> bool:
        """Tell whether it is what a correlation of at most three standard errors gives.

        R² is at most the squared correlation of predictions and targets, and the standard error
        of that correlation is 1 / sqrt(N) where the two have nothing to do with each other.
        """
        return not value > chance + _SIGNIFICANT**2 / count
