"""A loss that lets every layer take part in a comparison, whatever the examples are."""

from typing import Any

from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree, tensors_of
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.losses import FrozenLoss


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
        self.taken, self.weights, self.known = loss.taken, loss.weights, loss.known

    def double(self) -> "Enlivened":
        """Give the same in float64."""
        return Enlivened(self._loss.double())

    def __call__(self, outputs: Any, targets: Tree, how: ByDefinition | None = None) -> Tensor:
        """Compute the loss, and add the squares in units of the largest output."""
        value = self._loss(outputs, targets, how)
        for tensor in tensors_of(outputs):
            if tensor.is_floating_point() and tensor.requires_grad and tensor.numel():
                value = value + tensor.square().sum() / _scale(tensor, targets)
        return value

    def weigher(self, outputs: Tensor, targets: Tree) -> Weigher | None:
        """Give the product with the Hessian by the outputs in closed form, if the loss has one."""
        return _with_squares(self._loss.weigher(outputs, targets), outputs, targets)

    def weigher_at_the_logits(self, outputs: Tensor, targets: Tree) -> Weigher | None:
        """Give the weight of log-probabilities that stands for their logits', as the loss does."""
        return _with_squares(self._loss.weigher_at_the_logits(outputs, targets), outputs, targets)


def _with_squares(own: Weigher | None, outputs: Tensor, targets: Tree) -> Weigher | None:
    if own is None:
        return None
    squares = 2 / _scale(outputs, targets)
    return lambda pushed: own(pushed) + squares * pushed


def _scale(outputs: Tensor, targets: Tree) -> Tensor:
    return outputs.detach().abs().max().clamp(min=1e-30) * 2 * trees.count(targets)
