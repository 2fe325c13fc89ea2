"""Losses whose Hessian by the outputs is written down, and products with it slice by slice.

Differentiating a loss twice makes several tensors as large as the outputs, which matters where a
network chooses among tens of thousands of classes.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from truehessian.networks.losses.base import as_weights
from truehessian.networks.losses.binary import BinaryCrossEntropy
from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.networks.losses.log_likelihood import NegativeLogLikelihood
from truehessian.networks.losses.squares import MeanSquaredError

Weigher: TypeAlias = Callable[[Tensor], Tensor]
# Outputs in a slice, of which a product holds three tensors beside its result. Smaller slices take
# longer where threads have to meet at the end of each, as on two cores that others use too.
_SLICE = 2**22


def weigher_of(loss: Any, outputs: Tensor, targets: Any) -> Weigher | None:
    """Give v -> W v with the Hessian W of a loss by the outputs.

    Parameters
    ----------
    loss
        One of ours; see `networks.losses`.
    outputs, targets
        What the loss takes.

    Returns
    -------
    Callable or None
        A tensor of the outputs' shape -> its product. None where no closed form is known, and where
        these are no outputs and targets of the loss, for it to complain about.
    """
    if not outputs.numel() or not isinstance(targets, Tensor):
        return None
    if isinstance(loss, CrossEntropy):
        return _softmax(loss, outputs, targets)
    if isinstance(loss, MeanSquaredError):
        return _squares(loss, outputs, targets)
    return _logistic(loss, outputs, targets) if isinstance(loss, BinaryCrossEntropy) else None


def at_the_logits(loss: NegativeLogLikelihood, outputs: Tensor, targets: Tensor) -> Weigher | None:
    """Give the weight of log-probabilities by which the matrix is the one at their logits.

    With log-probabilities q = z - log sum exp z and p = exp q, the Hessian m (diag(p) - p pᵀ) by
    the logits z is m (dq/dz)ᵀ diag(p) (dq/dz).

    Returns
    -------
    Callable or None
        As `weigher_of`; None where the outputs are no log-probabilities.
    """
    if outputs.ndim < 2 or not outputs.numel():
        return None
    outputs = outputs.detach()
    masses = _masses(
        CrossEntropy(weight=loss.weight, ignore_index=loss.ignore_index), outputs, targets
    )
    total = outputs.double().logsumexp(1).abs().max().item()
    if masses is None or not total < 1e3 * torch.finfo(outputs.dtype).eps * outputs.shape[1]:
        return None
    weight = outputs.exp() * masses.unsqueeze(1)
    return lambda pushed: weight * pushed


def _softmax(loss: CrossEntropy, outputs: Tensor, targets: Tensor) -> Weigher | None:
    """Multiply with m (diag(p) - p pᵀ) for each prediction.

    With probabilities p, and weights w and smoothed targets q of the classes c, this is the Hessian
    of a single prediction for m = sum_c w_c q_c: the targets scale it only.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 4.3.4.
    """
    if outputs.ndim < 2:
        return None
    given, targets = outputs.detach(), loss.aligned(targets)
    arranged = loss.arranged(given, targets)
    last = arranged is not given
    if targets.is_floating_point():
        targets = loss.arranged(targets, targets)
    masses = _masses(loss, arranged, targets)
    if masses is None:
        return None
    classes = arranged.shape[1]
    shape = (-1, classes, 1) if last else (len(given), classes, -1)
    logits, masses = given.reshape(shape), masses.reshape(shape[0], 1, shape[2])

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


def _masses(loss: CrossEntropy, outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Give m of each prediction, divided as the mean is; shape (B, ..)."""
    classes, smoothing = outputs.shape[1], loss.label_smoothing
    weight = as_weights([1.0] * classes if loss.weight is None else loss.weight, outputs)
    if weight.shape != (classes,):
        return None
    smooth = smoothing * weight.mean()
    if targets.shape == outputs.shape and targets.is_floating_point() and loss.ignore_index < 0:
        chosen = torch.tensordot(targets.to(outputs).movedim(1, -1), weight, 1)
        return ((1 - smoothing) * chosen + smooth) / chosen.numel()
    if targets.shape != (len(outputs), *outputs.shape[2:]) or targets.is_floating_point():
        return None
    ignored = targets == loss.ignore_index
    known = targets.masked_fill(ignored, 0).long()
    if bool(((known < 0) | (known >= classes)).any()):
        return None
    chosen = weight[known].masked_fill(ignored, 0)
    return ((1 - smoothing) * chosen + smooth).masked_fill(ignored, 0) / chosen.sum()


def _squares(loss: MeanSquaredError, outputs: Tensor, targets: Tensor) -> Weigher | None:
    """Multiply with the Hessian of mean squares, 2 / number."""
    if loss.arranged(outputs, targets).shape != targets.shape:
        return None
    factor = 2 / outputs.numel()
    return lambda pushed: factor * pushed


def _logistic(loss: BinaryCrossEntropy, outputs: Tensor, targets: Tensor) -> Weigher | None:
    """Multiply with p (1 - p) for each label, with p the logistic function of its logit."""
    logits = MeanSquaredError().arranged(outputs.detach(), targets)
    if logits.shape != targets.shape:
        return None
    p, known = logits.sigmoid(), loss.known(targets)
    curved = p * (1 - p) * known / known.sum()
    if loss.pos_weight is not None:
        positive = targets.where(known, 0).to(logits)
        curved = curved * (1 + (as_weights(loss.pos_weight, logits) - 1) * positive)
    return lambda pushed: curved.view(pushed.shape) * pushed


def _slices(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Cut (B, C, D) along the first axis, and along the last one where that is not enough."""
    count, classes, places = shape
    rows = max(1, _SLICE // (classes * places))
    columns = max(1, _SLICE // (classes * rows))
    for row in range(0, count, rows):
        for column in range(0, places, columns):
            yield slice(row, row + rows), slice(column, column + columns)
