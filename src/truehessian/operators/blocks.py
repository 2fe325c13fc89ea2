"""The diagonal blocks of a curvature matrix by groups of parameters, such as those of layers."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from truehessian.data.trees import Tree
from truehessian.networks.parameters import grouped
from truehessian.operators.additivity import LossAudit
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.autograd.layers import LayerRules
from truehessian.operators.batches import Data
from truehessian.operators.graphs import GraphOperator
from truehessian.operators.mean import Linearised, NetworkOperator

Groups = Mapping[str, Sequence[str]] | str


class _Block(NamedTuple):
    """One group: the places of its leaves, their columns of the matrix, and who multiplies."""

    places: list[int]
    columns: list[slice]
    operator: NetworkOperator

    @property
    def size(self) -> int:
        """Order of the block."""
        return sum(part.stop - part.start for part in self.columns)

    def read(self, vectors: Tensor) -> Tensor:
        """Take this group's columns out of vectors as rows, (k, P) -> (k, P_g)."""
        return torch.cat([vectors[:, part] for part in self.columns], 1)

    def write(self, rows: Tensor, out: Tensor) -> None:
        """Put rows (k, P_g) into this group's columns of `out`, (k, P)."""
        begin = 0
        for part in self.columns:
            end = begin + part.stop - part.start
            out[:, part] = rows[:, begin:end]
            begin = end


class DiagonalBlocks(NetworkOperator):
    """The matrix of an operator with zeros wherever row and column are of different groups.

    A product of it is one of each block with its own part of the vector. All blocks share the
    passes over the data and the graphs. The product of a block differentiates by its own
    parameters only, from its own part of the gradient, so that it passes through the layers from
    its first one on and leaves out the gradients of all other weights. Where a vector is zero on a
    group, nothing is computed for it.

    Parameters
    ----------
    operator
        A Hessian, or a matrix JᵀWJ: GGN, Fisher, EmpiricalFisher. It gives network, data and
        settings; the two share the network, and no graphs.
    groups
        Patterns of names, as in ``fnmatch``, by the group's name; or `layers`, for a group of each
        module that owns parameters. Of parameters in no group the matrix has the weight decay on
        its diagonal, and zeros.

    Attributes
    ----------
    groups
        Orders P_g of the blocks, by the names of the groups.

    Raises
    ------
    TypeError
        The operator is another one, or a group has something other than patterns.
    ValueError
        A group matches nothing, or two share a parameter.
    """

    def __init__(self, operator: NetworkOperator, groups: Groups) -> None:
        if (
            not isinstance(operator, NetworkOperator)
            or type(operator)._of_leaves is GraphOperator._of_leaves
        ):
            raise TypeError(
                "diagonal blocks are those of a Hessian, GGN, Fisher or EmpiricalFisher, whose "
                f"graphs can be differentiated by some of the parameters, got a "
                f"{type(operator).__name__}; restrict it by `parameters` to one group at a time"
            )
        fresh = operator.with_data(operator.data, operator.chunk_size)
        vars(self).update(vars(fresh))
        self._audit, self._settled = LossAudit(self.loss, self.network), False
        self.name, self.semidefinite = operator.name, operator.semidefinite
        self.operator = fresh
        self._skipped: set[int] = set()
        self._filled: list[int] | None = None  # rows in which each block has vectors, where known
        self._take(grouped(self.network.names, groups))

    def _take(self, members: Mapping[str, list[int]]) -> None:
        """Make the blocks of the operator at hand, given the places of each group's leaves."""
        ends = torch.tensor([leaf.numel() for leaf in self.network.leaves]).cumsum(0).tolist()
        each = [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]
        self._members = dict(members)
        self._blocks = [
            _Block(places, [each[place] for place in places], copy.copy(self.operator))
            for places in members.values()
        ]
        self.groups = {name: block.size for name, block in zip(members, self._blocks, strict=True)}

    def products(self, vectors: Iterable[tuple[str, Tensor]]) -> list[Tensor]:
        """Multiply blocks with vectors of their own, several for one group or none for another.

        Parameters
        ----------
        vectors
            Names of groups, each with a vector of shape (P_g,).

        Returns
        -------
        list of Tensor
            Products in the order of the vectors, shape (P_g,) each, float64.
        """
        numbers = {name: number for number, name in enumerate(self.groups)}
        waiting: dict[str, int] = dict.fromkeys(self.groups, 0)  # vectors of each group so far
        wanted: list[tuple[_Block, int, Tensor]] = []
        for name, vector in vectors:
            wanted.append((self._blocks[numbers[name]], waiting[name], vector))
            waiting[name] += 1
        rows = torch.zeros(
            (max(waiting.values()), self.num_params), dtype=self.dtype, device=self.device
        )
        for block, row, vector in wanted:
            block.write(vector.to(rows).unsqueeze(0), rows[row : row + 1])
        self._filled = list(waiting.values())
        try:
            out = self.matmat(rows)
        finally:
            self._filled = None
        return [block.read(out[row : row + 1])[0] for block, row, _ in wanted]

    def with_loss(self, loss: Any) -> Self:
        """Give the same blocks of another loss, for comparisons; they share the network."""
        twin = super().with_loss(loss)
        twin.operator = self.operator.with_loss(loss)
        return twin

    def with_data(self, data: Data, chunk_size: int) -> Self:
        """Give the same blocks of other examples, or of the same in other chunks."""
        twin = super().with_data(data, chunk_size)
        twin.operator = self.operator.with_data(data, chunk_size)
        twin.data = twin.operator.data
        return twin

    def double(self) -> Self:
        """Give the same blocks in float64, for comparisons."""
        twin = super().double()
        twin.operator = self.operator.double()
        twin.network = twin.operator.network
        twin._take(self._members)
        return twin

    def check_loss(self, outputs: Any, targets: Tree) -> None:
        """Look at the loss as the operator does."""
        self.operator.check_loss(outputs, targets)

    def traits(self) -> list[str]:
        """As of the operator, with its name and the number of groups."""
        return [self.name, f"{len(self.groups)} groups", *super().traits()]

    def describe(self) -> dict[str, Any]:
        """As of the operator, with the orders of the blocks by the names of the groups."""
        return {**self.operator.describe(), **super().describe(), "groups": dict(self.groups)}

    def _rules(self) -> LayerRules:
        rules = self.operator._rules()
        rules.skipped = self._skipped
        return rules

    def _linearise(self, inputs: Tree, targets: Tree, how: ByDefinition) -> Linearised:
        return self.operator._linearise(inputs, targets, how)

    def _of_leaves(self, graph: Any, places: Sequence[int]) -> Any:
        return self.operator._of_leaves(graph, places)

    def _apply(self, graph: Any, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        products = [torch.zeros_like(leaf) for leaf in self.network.leaves]
        for block in self._blocks:
            again = keep or block is not self._blocks[-1]
            with self._only(block, graph) as part:
                own = block.operator._apply(part, [vector[place] for place in block.places], again)
            for place, product in zip(block.places, own, strict=True):
                products[place] = product
        return products

    def _apply_some(self, graph: Any, vectors: list[list[Tensor]], keep: bool, out: Tensor) -> None:
        """Multiply each block with those vectors that are not zero on its group."""
        begin = out.storage_offset() // out.shape[1]  # the row of the block that `out` begins with
        out.zero_()
        for number, block in enumerate(self._blocks):
            again = keep or block is not self._blocks[-1]
            own = [[vector[place] for place in block.places] for vector in vectors]
            if self._filled is None or self.device.type == "cpu":  # to look makes a GPU wait
                rows = [row for row, parts in enumerate(own) if any(bool(p.any()) for p in parts)]
            else:
                rows = list(range(len(own)))[: max(self._filled[number] - begin, 0)]
            if not rows:
                continue
            products = out.new_empty(len(rows), block.size)
            with self._only(block, graph) as part:
                block.operator._apply_some(part, [own[row] for row in rows], again, products)
            for row, product in zip(rows, products, strict=True):
                block.write(product.unsqueeze(0), out[row : row + 1])

    @contextmanager
    def _only(self, block: _Block, graph: Any) -> Iterator[Any]:
        """Give a block's part of a graph; meanwhile the rules of layers skip all other leaves."""
        block.operator.network = self.network.restricted(block.places)
        own = set(block.places)
        leaves = enumerate(self.network.leaves)
        self._skipped.update(id(leaf) for place, leaf in leaves if place not in own)
        try:
            yield self._of_leaves(graph, block.places)
        finally:
            self._skipped.clear()
