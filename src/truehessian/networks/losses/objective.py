"""A loss over the examples of one split: its mean, what each batch counts for, and its measure."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.losses.base import (
    Loss,
    check_weights,
    logits_of,
    name_of,
    nothing_counts,
)
from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.networks.losses.measures import Accuracy, Measure
from truehessian.networks.losses.recognition import Interpreted


class Objective:
    """A loss with all targets of the examples that it is the mean over.

    Parameters
    ----------
    loss
        (outputs, targets) -> scalar, the mean over the examples given. By a method `weights` they
        count otherwise than alike, see `base.WeightedLoss`; by an attribute `measure` it says what
        the task measures, see `measures.Measure`. A module is copied to the targets' device.
    targets
        Of all N examples, on the device of the batches.

    Attributes
    ----------
    some_count_nothing
        Whether a batch may hold no example that counts.

    Raises
    ------
    ValueError
        The weights are none, or no example counts.
    """

    def __init__(self, loss: Loss, targets: Tree) -> None:
        self.own, self.targets = loss, targets
        self._device = trees.tensors_of(targets)[0].device
        if isinstance(loss, nn.Module):
            loss = copy.deepcopy(loss).to(self._device)
        self._loss = Interpreted(loss)
        self._measure: Any = getattr(self._loss.told, "measure", None)
        self._are_equal, self.some_count_nothing = self._look_at_weights()

    def __call__(self, outputs: Any, targets: Tree) -> Tensor:
        """Give the mean over some examples, NaN where nothing counts."""
        return self._loss.function(self._loss.taken(outputs), targets)

    def count(self, targets: Tree) -> Tensor:
        """Sum the weights of a batch, float64."""
        weights = None if self._are_equal else self._loss.weights(targets)
        if weights is None:
            count = trees.count(targets)
            return torch.full((), count, dtype=torch.float64, device=self._device)
        total: Tensor = weights.detach().double().sum()
        return total

    def measure(self, outputs: Any, targets: Tree) -> Measure | None:
        """Say what the task measures, None for nothing.

        A loss that does not say it has the accuracy where it looks like one of classes: whole
        numbers, shape (B,), beside logits (B, C) of two classes or more.

        Raises
        ------
        ValueError
            The name of the measure is not fit for columns.
        """
        measure = self._measure
        if measure is None:
            return Accuracy(CrossEntropy()) if _are_classes(logits_of(outputs), targets) else None
        if not isinstance(measure, Measure):
            raise ValueError(
                f"the measure of the loss {name_of(self.own)} must be a "
                f"truehessian.networks.losses.measures.Measure, got {type(measure).__name__}"
            )
        if measure.name == "loss" or not measure.name.isidentifier():
            raise ValueError(
                f"the measure of the loss {name_of(self.own)} must have a name of letters, digits "
                f"and underscores other than 'loss', got {measure.name!r}"
            )
        return measure

    def _look_at_weights(self) -> tuple[bool, bool]:
        """Tell whether all examples count alike, and whether some do not count."""
        weights = self._loss.weights(self.targets)
        if weights is None:
            return True, False
        weights = check_weights(self.own, weights, self.targets)
        least, most = torch.stack([weights.min(), weights.max()]).tolist()
        if not most > 0:
            raise nothing_counts(self.own)
        return least == most, least == 0


def _are_classes(outputs: Any, targets: Tree) -> bool:
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return False
    whole = not (targets.is_floating_point() or targets.dtype == torch.bool)
    return whole and targets.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] > 1
