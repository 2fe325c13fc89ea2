"""What a loss is: a mean over examples, which may count with weights."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from truehessian.data.trees import Tree
from truehessian.networks.losses import LOSSES

Loss = Callable[[Any, Any], Tensor]


@runtime_checkable
class WeightedLoss(Protocol):
    """A mean over examples that count with weights: sum_i w_i l_i / sum_i w_i."""

    def __call__(self, outputs: Any, targets: Tree) -> Tensor:
        """Give the weighted mean over the examples given, one number."""

    def weights(self, targets: Tree) -> Tensor | None:
        """Give the weight w_i of each example, shape (B,), float64, from 0 on; None for all 1."""


def made(name: str, arguments: Mapping[str, Any] | None = None) -> Loss:
    """Make a loss by its name.

    Parameters
    ----------
    name
        One of `LOSSES`, or an import path "package.module:loss" of a function of outputs and
        targets, or of a class of such.
    arguments
        Of the class; or of the function, beside outputs and targets.

    Raises
    ------
    ValueError
        The name is unknown, or the loss does not take the arguments.
    """
    found, arguments = LOSSES.load(name), dict(arguments or {})
    if isinstance(found, type):
        try:
            loss: Loss = found(**arguments)
        except TypeError as error:
            raise ValueError(f"loss {name} cannot be made with its arguments: {error}") from None
        return loss
    return functools.partial(found, **arguments) if arguments else found


def as_weights(weight: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """Bring weights of classes to the device and precision of a tensor."""
    return torch.as_tensor(weight, dtype=like.dtype, device=like.device)
