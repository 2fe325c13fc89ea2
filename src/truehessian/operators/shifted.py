"""A network whose outputs are shifted, by an offset of each example's own."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.losses.base import Loss, name_of
from truehessian.networks.losses.log_likelihood import NegativeLogLikelihood
from truehessian.networks.losses.recognition import Interpreted
from truehessian.operators.batches import Data
from truehessian.operators.ggn import GaussNewton
from truehessian.operators.precision import arithmetic

_OWN, _OFFSETS = "own", "offsets"


class ShiftedLoss:
    """A loss at outputs z + o instead of z, with the offsets o beside the targets.

    Its curvature by the weights is Jᵀ W(z + o) J and the slope at z + o times the outputs' second
    derivatives, at the weights as they are.

    Parameters
    ----------
    loss
        Of the outputs as they are, or at the logits in a mapping of outputs.

    Raises
    ------
    ValueError
        The loss takes log-probabilities, which are none any more when they are shifted.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = Interpreted(loss)
        if isinstance(self._loss.known, NegativeLogLikelihood):
            raise ValueError(
                f"outputs of the loss {name_of(loss)} are log-probabilities, which cannot be "
                "shifted; let the network give logits, and take cross_entropy"
            )
        self.__name__ = f"{name_of(loss)} at shifted outputs"
        if self._loss.has_weights:
            self.weights = self._weights

    def __call__(self, outputs: Any, targets: Tree) -> Tensor:
        """Give the loss at shifted outputs."""
        shifted = self._loss.taken(outputs) + targets[_OFFSETS]
        return self._loss.function(shifted, targets[_OWN])

    def _weights(self, targets: Tree) -> Any:
        return self._loss.weights(targets[_OWN])


class ShiftedData:
    """Examples with an offset of the outputs beside the targets of each.

    Parameters
    ----------
    data
        The examples.
    offsets
        One for each, in their order, shape (N, ..), of the outputs' shape.
    """

    def __init__(self, data: Data, offsets: Tensor) -> None:
        if len(offsets) != data.num_examples:
            raise ValueError(f"there are {len(offsets)} offsets for {data.num_examples} examples")
        self.data, self.offsets = data, offsets

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return self.data.num_examples

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tree, Tree]]:
        """Iterate over (inputs, targets), the offsets beside the targets."""
        begin = 0
        for inputs, targets in self.data.chunks(size, dtype):
            own = self.offsets[begin : begin + trees.count(targets)].to(dtype)
            begin += len(own)
            yield inputs, {_OWN: targets, _OFFSETS: own.to(trees.tensors_of(targets)[0].device)}


def pushed_forward(operator: GaussNewton, vector: Tensor) -> Tensor:
    """Multiply the Jacobian of the outputs by the weights with a vector, J v.

    Parameters
    ----------
    operator
        Gives network and examples, all of them in one pass.
    vector
        Shape (P,).

    Returns
    -------
    Tensor
        Of the outputs' shape, float64; the logits' where the outputs are a mapping that has some.
    """
    network = operator.network
    (pair,) = operator.data.chunks(operator.num_examples, operator.dtype)
    inputs = trees.moved(pair[0], operator.device)
    with arithmetic(operator.precision):
        outputs = operator.loss.taken(network(inputs))
        # Jᵀ d is linear in d: its derivative by d along v is J v.
        dummy = torch.zeros_like(outputs, requires_grad=True)
        how = {"allow_unused": True, "materialize_grads": True}
        if not outputs.requires_grad:
            return torch.zeros_like(outputs).double()
        pulled = torch.autograd.grad(outputs, network.leaves, dummy, create_graph=True, **how)
        parts = network.unflatten(vector.to(operator.device, operator.dtype))
        pairs = [(g, v) for g, v in zip(pulled, parts, strict=True) if g.requires_grad]
        gradients, vectors = ([pair[place] for pair in pairs] for place in (0, 1))
        (pushed,) = torch.autograd.grad(gradients, dummy, vectors, **how)
    return pushed.detach().double()
