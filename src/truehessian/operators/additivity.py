"""Whether a loss is a mean over examples, which all operators here take it for."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree, cast, joined, mapped, rows, tensors_of
from truehessian.operators.diagnosis import ComputationError
from truehessian.operators.losses import FrozenLoss, name_of

_TOLERANCE = 1e-6  # relative; the losses are computed in float64


class LossAudit:
    """Compares the loss of each chunk of a first pass with the losses of its parts.

    With l(A) the loss of the examples A and w(A) their weight, which is their number where the loss
    gives no other, a mean has w(A + B) l(A + B) = w(A) l(A) + w(B) l(B). A sum, weights that the
    loss does not tell, and losses that compare examples have not, and the matrix would depend on
    the chunks, or on the memory at hand.

    Parameters
    ----------
    loss
        The operator's.
    network
        Its network, for outputs that cannot be divided among examples.
    """

    def __init__(self, loss: FrozenLoss, network: Callable[[Tree], Any]) -> None:
        self._loss = loss.double()
        self._network = network
        self._before: tuple[Any, Tree] | None = None

    def add(self, inputs: Tree, outputs: Any, targets: Tree) -> None:
        """Take in one chunk; its parts are tried together with an example of the one before.

        Raises
        ------
        ValueError
            The loss is no mean over examples, or depends on parameters other than the network's.
        """
        count = trees.count(targets)
        targets = cast(targets, torch.float64)
        if all(t.ndim and len(t) == count for t in tensors_of(outputs)):
            outputs = mapped(outputs, _detached)
            last = tuple(rows(tree, slice(count - 1, count)) for tree in (outputs, targets))
            if self._before is None:
                self._check_leaves(outputs, targets)
            elif _shapes(self._before[0]) == _shapes(outputs):
                outputs = joined([self._before[0], outputs])
                targets = joined([self._before[1], targets])
            self._before = last
            self._check(targets, lambda part: rows(outputs, part))
        elif self._before is None and count > 1:  # such as a number for all examples together
            self._before = (outputs, targets)
            self._check_leaves(mapped(outputs, _detached), targets)
            self._check(
                rows(targets, slice(0, 2)),
                lambda part: mapped(self._outputs(inputs, part), _detached),
            )

    def _check_leaves(self, outputs: Any, targets: Tree) -> None:
        with torch.enable_grad():
            value = self._value(outputs, targets)
        if value is not None and value.requires_grad:
            raise ValueError(
                f"the loss {name_of(self._loss.own)} depends on parameters other than the "
                "operator's copy of the network's, such as a penalty on the weights of the network "
                "outside; a penalty would have to be added to the matrix by hand, and what is "
                "meant as a constant computed under torch.no_grad()"
            )

    def _check(self, targets: Tree, outputs: Callable[[Any], Any]) -> None:
        count = trees.count(targets)
        if count < 2:
            return
        order = torch.arange(count)
        third, odd = order < (count + 2) // 3, order % 2 == 1
        for chosen in [third, odd] if count > 2 else [odd]:
            parts = [order[chosen], order[~chosen]]
            with torch.no_grad():
                weights = [self._weight(rows(targets, p)) for p in parts]
                if not all(weights):
                    continue
                values = [self._value(outputs(p), rows(targets, p)) for p in [order, *parts]]
                again = self._value(outputs(order), targets)
            if any(value is None for value in values):
                continue
            whole, *own = (value.item() for value in values if value is not None)
            mean = sum(w * v for w, v in zip(weights, own, strict=True)) / sum(weights)
            scale = max(map(abs, [whole, *own]))
            if math.isnan(whole) or abs(whole - mean) <= _TOLERANCE * scale:
                continue
            if again is None or again.item() != whole:
                raise ValueError(
                    f"the loss {name_of(self._loss.own)} gives other values for the same outputs "
                    "at every call, so that its curvature is no fixed matrix; it may draw random "
                    "numbers, or keep a state"
                )
            is_sum = abs(whole - sum(own)) <= _TOLERANCE * scale
            raise ValueError(self._sentence(count, whole, mean, is_sum))

    def _outputs(self, inputs: Tree, part: Tensor) -> Any:
        return self._loss.taken(self._network(rows(inputs, part)))

    def _weight(self, targets: Tree) -> float:
        weights = self._loss.weights(targets)
        return float(trees.count(targets)) if weights is None else weights.sum().item()

    def _value(self, outputs: Any, targets: Tree) -> Tensor | None:
        """Give the loss, or None where it cannot be had of so many examples."""
        try:
            with warnings.catch_warnings(action="ignore"):
                return self._loss(outputs, targets)
        except ComputationError:
            return None

    def _sentence(self, count: int, whole: float, mean: float, is_sum: bool) -> str:
        cause = (
            "it is a sum; take the mean, reduction='mean'"
            if is_sum
            else "it weighs examples or classes, ignores some targets, or compares examples with "
            "each other, so that every chunk would have a denominator of its own; divide a sum "
            "over examples by their number, whatever the chunk, or give the loss a method "
            "weights(targets) that tells the weight of each example"
        )
        return (
            f"the loss {name_of(self._loss.own)} is no mean over examples (of {count} examples it "
            f"is {whole:.6g}, and the mean of its parts' values is {mean:.6g}), and the matrix "
            f"would depend on the chunks: {cause}"
        )


def _detached(tensor: Tensor) -> Tensor:
    return cast(tensor.detach(), torch.float64)


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape[1:]) for tensor in tensors_of(tree)]
