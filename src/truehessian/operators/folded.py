"""A network, its loss and its examples for several equally large batches in one graph."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.autograd.fold_rules import FoldRules
from truehessian.operators.closed_forms import Weigher
from truehessian.operators.enlivened import Enlivened
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.losses import FrozenLoss


class FoldedNetwork(FrozenNetwork):
    """A copy of a network as a function of F copies of its parameters, channels first.

    Parameters
    ----------
    network
        Gives the weights, and which of them are parameters.
    folds
        Number F of batches.

    Attributes
    ----------
    copies
        Leaves of shape (F, ..) by the ids of the parameters.
    """

    def __init__(self, network: FrozenNetwork, folds: int) -> None:
        super().__init__(network.module, **network.settings)
        self.put_channels_first()
        self._make_copies(folds)

    def _make_copies(self, folds: int) -> None:
        self.folds = folds
        self.copies = {
            id(own): torch.stack([own.detach()] * folds).requires_grad_()
            for own in self.parameters.values()
        }

    def with_folds(self, folds: int) -> Self:
        """Give the same network for another number of batches."""
        other = copy.copy(self)
        other._make_copies(folds)
        return other

    @property
    def leaves(self) -> list[Tensor]:
        """The copies of the parameters, shape (F, ..) each."""
        return list(self.copies.values())

    def rules(self, inputs: Tree, *, weights: bool) -> FoldRules:
        """Make the rules by which layers are computed for these examples of all batches."""
        return FoldRules(
            self.dtype,
            self.device,
            copies=self.copies,
            folds=self.folds,
            examples=trees.count(inputs),
            weights=weights,
        )

    def __call__(self, inputs: Tree, how: ByDefinition | None = None) -> Any:
        """Map the examples of all batches to outputs by rules that know of batches.

        Raises
        ------
        RulesDoNotHold
            A parameter is used by something that there is no rule for.
        """
        outputs = super().__call__(inputs, how)
        if isinstance(how, FoldRules):
            how.check(trees.tensors_of(outputs))
        return outputs

    def flatten(self, tensors: Sequence[Tensor], out: Tensor) -> None:
        """Write tensors of the leaves' shapes into vectors of all batches, shape (F, P)."""
        torch.cat([tensor.flatten(1) for tensor in tensors], 1, out=out)

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """Cut vectors of all batches, shape (F, P), into tensors of the leaves' shapes."""
        shapes = [own.shape for own in self.parameters.values()]
        parts = vector.split([shape.numel() for shape in shapes], 1)
        return [part.view(self.folds, *shape) for part, shape in zip(parts, shapes, strict=True)]


class FoldedLoss:
    """The sum of the losses of F batches, whose examples lie behind each other place by place.

    Parameters
    ----------
    loss
        Of one batch, a mean over examples.
    folds
        Number F of batches.
    alike
        Whether all examples count alike, so that the sum is F times the loss of all of them.

    Attributes
    ----------
    own, known
        As of `FrozenLoss`.
    """

    def __init__(self, loss: FrozenLoss | Enlivened, folds: int, *, alike: bool) -> None:
        self._loss, self.folds, self.alike = loss, folds, alike
        self._batches = [slice(first, None, folds) for first in range(folds)]
        self.own, self.known = loss.own, loss.known
        self.taken, self.check_graph = loss.taken, loss.check_graph

    def __call__(self, outputs: Any, targets: Tree, how: ByDefinition | None = None) -> Tensor:
        """Compute the sum."""
        if self.alike:
            return self.folds * self._loss(outputs, targets, how)
        total: Tensor | float = 0.0
        for own in self._batches:
            total = total + self._loss(trees.rows(outputs, own), trees.rows(targets, own), how)
        assert isinstance(total, Tensor)
        return total

    def weigher(self, outputs: Tensor, targets: Tree) -> Weigher | None:
        """Multiply with the second derivative of the sum, in closed form, see `FrozenLoss`."""
        return self._of_each(self._loss.weigher, outputs, targets)

    def weigher_at_the_logits(self, outputs: Tensor, targets: Tree) -> Weigher | None:
        """Multiply with the weight of log-probabilities that stands for their logits'."""
        return self._of_each(self._loss.weigher_at_the_logits, outputs, targets)

    def _of_each(
        self, make: Callable[[Tensor, Tree], Weigher | None], outputs: Tensor, targets: Tree
    ) -> Weigher | None:
        made = [make(*(trees.rows(t, own) for t in (outputs, targets))) for own in self._batches]
        weighers = [one for one in made if one is not None]
        if len(weighers) < self.folds:
            return None

        def weigh(pushed: Tensor) -> Tensor:
            product = torch.empty_like(pushed)
            for own, one in zip(self._batches, weighers, strict=True):
                product[own] = one(pushed[own])
            return product

        return weigh


def interleaved(batches: Sequence[Tree]) -> Tree:
    """Put examples of batches of one size and structure behind each other, place by place."""
    parts = [iter(trees.tensors_of(batch)) for batch in batches]
    return trees.mapped(
        batches[0], lambda _: torch.stack([next(part) for part in parts], 1).flatten(0, 1)
    )
