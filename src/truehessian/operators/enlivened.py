"""A loss that lets every layer take part in a comparison, whatever the examples are."""

from typing import Any

from torch import Tensor

from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.losses import FrozenLoss
from truehessian.operators.trees import tensors_of


class Enlivened:
    """An operator's loss and a share of the outputs' squares, for comparisons only.

    Of examples that are fitted perfectly the loss leaves nothing but rounding: its slopes are
    differences of nearly equal numbers. The squares have slopes of order one and let every layer
    take part.
    """

    def __init__(self, loss: FrozenLoss) -> None:
        self.own = loss.own
        self._loss = loss
        self.check_graph, self.curvature = loss.check_graph, loss.curvature

    def double(self) -> "Enlivened":
        """Give the same in float64."""
        return Enlivened(self._loss.double())

    def __call__(self, outputs: Any, targets: Tensor, how: ByDefinition | None = None) -> Tensor:
        """Compute the loss, and add the squares in units of the largest output."""
        value = self._loss(outputs, targets, how)
        for tensor in tensors_of(outputs):
            if tensor.is_floating_point() and tensor.requires_grad and tensor.numel():
                value = value + tensor.square().sum() / _scale(tensor, targets)
        return value

    def weigher(self, outputs: Tensor, targets: Tensor) -> Weigher | None:
        """Give the product with the Hessian by the outputs in closed form, if the loss has one."""
        own = self._loss.weigher(outputs, targets)
        if own is None:
            return None
        squares = 2 / _scale(outputs, targets)
        return lambda pushed: own(pushed) + squares * pushed


def _scale(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.detach().abs().max().clamp(min=1e-30) * 2 * len(targets)
