"""The graph of several equally large batches, and the products that it gives."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.folded import FoldedLoss, FoldedNetwork, interleaved
from truehessian.operators.mean import NetworkOperator
from truehessian.operators.precision import arithmetic
from truehessian.operators.replay import Replay, aside

Pair = tuple[Tree, Tree]


class Stack:
    """The matrices of F batches by one graph, which is kept.

    Parameters
    ----------
    operators
        One of each batch, settled, and in chunks of the same sizes.
    network
        Theirs, for as many batches.

    Raises
    ------
    RulesDoNotHold
        A layer has no rule that knows of batches, or examples do not go together.
    """

    def __init__(self, operators: Sequence[NetworkOperator], network: FoldedNetwork) -> None:
        first = operators[0]
        self.decay = first.weight_decay
        weights = [operator.weights for operator in operators]
        self._begin(first, network)
        chunks = [own.data.chunks(own.chunk_size, own.dtype) for own in operators]
        for number, pairs in enumerate(zip(*chunks, strict=True)):
            shares = [own.chunks[number] / own.total for own in weights]
            self._add(pairs, torch.tensor(shares, dtype=torch.float64, device=first.device))

    @classmethod
    def of_examples(
        cls, operator: NetworkOperator, network: FoldedNetwork, pairs: Sequence[Pair]
    ) -> "Stack":
        """Make the graph of a few examples of each batch, whatever their weights."""
        stack = cls.__new__(cls)
        stack.decay = 0.0
        stack._begin(operator, network)
        shares = torch.ones(len(pairs), dtype=torch.float64, device=operator.device)
        stack._add(pairs, shares, one_by_one=True)
        return stack

    def _begin(self, operator: NetworkOperator, network: FoldedNetwork) -> None:
        self.network, self.precision = network, operator.precision
        self._operator = copy.copy(operator)
        self._operator.network = network
        self._loss = operator.loss
        self._audit = operator._audit
        self._chunks: list[tuple[Replay, Tensor]] = []

    def _add(self, pairs: Sequence[Pair], shares: Tensor, *, one_by_one: bool = False) -> None:
        """Make the graph of one chunk of each batch, whose products count by `shares`."""
        network = self.network
        if len({tuple(map(trees.shapes, pair)) for pair in pairs}) > 1:
            raise RulesDoNotHold("batches have examples of different shapes")
        inputs, targets = (
            trees.moved(interleaved(parts), network.device) for parts in zip(*pairs, strict=True)
        )
        weights = self._loss.weights(targets)
        alike = not one_by_one and (weights is None or bool((weights == weights[0]).all()))
        loss: Any = FoldedLoss(self._loss, network.folds, alike=alike)
        self._operator.loss = loss
        rules = network.rules(inputs, weights=self._operator._rules().weights)
        with arithmetic(self.precision), aside(self._operator._recorder):
            graph, outputs = self._operator._linearise(inputs, targets, rules)
        if self._audit is not None and outputs is not None:
            self._audit.add(inputs, outputs, targets)
        apply = partial(self._operator._apply, graph, keep=True)
        self._chunks.append((Replay(apply, self._operator._recorder), shares))

    def products(self, block: Tensor) -> Tensor:
        """Multiply the matrix of each batch with a vector of its own.

        Parameters
        ----------
        block
            Shape (F, P), in the operator's dtype and on its device.

        Returns
        -------
        Tensor
            Shape (F, P), float64.
        """
        vectors, product = self.network.unflatten(block), torch.empty_like(block)
        total = block.double() * self.decay
        for replay, shares in self._chunks:
            with arithmetic(self.precision), aside(self._operator._recorder):
                self.network.flatten(replay(vectors), product)
            total.addcmul_(product.double(), shares.unsqueeze(1))
        return total
