"""Losses whose Hessian by the outputs is written down, and products with it slice by slice.

Differentiating a loss twice makes several tensors as large as the outputs, which matters where a
network chooses among tens of thousands of classes.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weigher: TypeAlias = Callable[[Tensor], Tensor]
# Outputs in a slice, of which a product holds three tensors beside its result. Smaller slices take
# longer where threads have to meet at the end of each, as on two cores that others use too.
_SLICE = 2**22


class Softmax(NamedTuple):
    """The mean cross-entropy of PyTorch, with its options.

    With probabilities p, and weights w and smoothed targets q of the classes c, the Hessian of a
    single prediction is m (diag(p) - p pᵀ) for m = sum_c w_c q_c: the targets scale it only.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 4.3.4.
    """

    weight: Tensor | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0

    def weigher(self, outputs: Tensor, targets: Tensor) -> Weigher | None:
        """Give v -> W v with the Hessian W of the loss by the outputs.

        Parameters
        ----------
        outputs
            Logits, shape (B, C, ..).
        targets
            Classes, shape (B, ..), or probabilities, shape (B, C, ..).

        Returns
        -------
        Callable or None
            None where these are no outputs and targets of the loss, for it to complain about.
        """
        if outputs.ndim < 2 or not outputs.numel():
            return None
        masses = self._masses(outputs.detach(), targets)
        if masses is None:
            return None
        logits = outputs.detach().reshape(*outputs.shape[:2], -1)
        masses = masses.reshape(len(logits), 1, -1)

        def weigh(pushed: Tensor) -> Tensor:
            pushed = pushed.reshape(logits.shape)
            weighted = torch.empty_like(pushed, memory_format=torch.contiguous_format)
            for rows, columns in _slices(logits.shape):
                own = (rows, slice(None), columns)
                p, v = logits[own].softmax(1), pushed[own]
                part = p * v
                torch.sub(v, part.sum(1, keepdim=True), out=part)
                weighted[own] = part.mul_(p).mul_(masses[own])
            return weighted.view(outputs.shape)

        return weigh

    def _masses(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Give m of each prediction, divided as the mean is; shape (B, ..)."""
        classes, smoothing = outputs.shape[1], self.label_smoothing
        weight = outputs.new_ones(classes) if self.weight is None else self.weight.to(outputs)
        if weight.shape != (classes,):
            return None
        smooth = smoothing * weight.mean()
        if targets.shape == outputs.shape and targets.is_floating_point() and self.ignore_index < 0:
            chosen = torch.tensordot(targets.to(outputs).movedim(1, -1), weight, 1)
            return ((1 - smoothing) * chosen + smooth) / chosen.numel()
        if targets.shape != (len(outputs), *outputs.shape[2:]) or targets.is_floating_point():
            return None
        ignored = targets == self.ignore_index
        known = targets.masked_fill(ignored, 0).long()
        if bool(((known < 0) | (known >= classes)).any()):
            return None
        chosen = weight[known].masked_fill(ignored, 0)
        return ((1 - smoothing) * chosen + smooth).masked_fill(ignored, 0) / chosen.sum()


class Squares(NamedTuple):
    """The mean of squared differences of outputs and targets, whose Hessian is 2 / number."""

    def weigher(self, outputs: Tensor, targets: Tensor) -> Weigher | None:
        """Give v -> W v; None where the shapes of outputs and targets differ."""
        if outputs.shape != targets.shape or not outputs.numel():
            return None
        factor = 2 / outputs.numel()
        return lambda pushed: factor * pushed


def known(loss: Any) -> Softmax | Squares | None:
    """Recognise PyTorch's cross-entropy and mean squares: functions, modules, partial functions.

    Returns
    -------
    Softmax, Squares or None
        None for everything else, and for what is no mean.
    """
    function, options = loss, {}
    if isinstance(loss, functools.partial) and not loss.args:
        function, options = loss.func, dict(loss.keywords)
    elif type(loss) is nn.CrossEntropyLoss:
        function = F.cross_entropy
        options = {name: getattr(loss, name) for name in (*Softmax._fields, "reduction")}
    elif type(loss) is nn.MSELoss:
        function, options = F.mse_loss, {"reduction": loss.reduction}
    if options.pop("reduction", "mean") != "mean":
        return None
    options = {name: value for name, value in options.items() if value is not None}
    if function is F.cross_entropy and set(options) <= set(Softmax._fields):
        return Softmax(**options)
    return Squares() if function is F.mse_loss and not options else None


def _slices(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Cut (B, C, D) along the first axis, and along the last one where that is not enough."""
    count, classes, places = shape
    rows = max(1, _SLICE // (classes * places))
    columns = max(1, _SLICE // (classes * rows))
    for row in range(0, count, rows):
        for column in range(0, places, columns):
            yield slice(row, row + rows), slice(column, column + columns)
