"""The matrices of several equally large batches, multiplied in one graph.

Small batches spend their time in Python and in starting kernels. Here the examples of all of them
pass through the network together, and each has a copy of the weights to be differentiated by, so
that one backward pass gives the products of all with vectors of their own.
"""

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from truehessian import text
from truehessian.operators import stack_twin
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.base import Operator
from truehessian.operators.batches import as_data, chunk_sizes
from truehessian.operators.folded import FoldedNetwork
from truehessian.operators.graphs import GraphOperator
from truehessian.operators.mean import NetworkOperator
from truehessian.operators.memory import SLACK, is_out_of_memory, room_for_graphs
from truehessian.operators.stack import Stack
from truehessian.operators.stack_twin import Verdict

logger = logging.getLogger(__name__)

# Bytes that a batch saves at a layer, in the mean, up to which one graph for several is faster.
# With more, kernels take longer than their start, and are best on a batch alone
# (docs/performance.md).
SMALL = 2**18


class Group:
    """Batches of one size, in one graph where they have a network for it.

    Attributes
    ----------
    numbers
        Of the batches.
    """

    def __init__(self, operators: Mapping[int, Operator], network: FoldedNetwork | None) -> None:
        self.numbers = list(operators)
        self._operators, self._network = operators, network
        self._stack: Stack | None = None
        self._stacked: list[int] = []  # numbers of the batches in the stack

    def products(self, vectors: Mapping[int, Tensor]) -> list[Tensor]:
        """Multiply matrices with vectors of their own.

        Parameters
        ----------
        vectors
            Shape (P,), by the numbers of the batches; of some of them where others are finished.

        Returns
        -------
        list of Tensor
            Products in the same order, shape (P,), float64.
        """
        if self._network is not None and len(vectors) > 1:
            try:
                return self._together(vectors)
            except RulesDoNotHold as error:
                logger.info("batches are multiplied one by one, since %s", error)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                logger.warning("out of memory: batches are multiplied one by one from here on")
            self._network = self._stack = None
            if self._operators[self.numbers[0]].device.type == "cuda":
                torch.cuda.empty_cache()
        return [self._operators[number].matvec(vector) for number, vector in vectors.items()]

    def products_by_place(self, vectors: Mapping[int, Tensor]) -> list[Tensor]:
        """As `products`, with the places in `numbers` in place of the numbers."""
        return self.products({self.numbers[place]: own for place, own in vectors.items()})

    def products_of_all(self, block: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Multiply all matrices with the same vectors, (k, P) -> (F, k, P), in a precision."""
        shape = (len(self.numbers), *block.shape)
        products = torch.empty(shape, dtype=dtype, device=self._operators[self.numbers[0]].device)
        for row, vector in enumerate(block):
            own = self.products(dict.fromkeys(self.numbers, vector))
            for place, product in enumerate(own):
                products[place, row] = product
        return products

    @property
    def num_examples(self) -> int:
        """Number of examples of each batch."""
        first: Any = self._operators[self.numbers[0]]
        count: int = first.num_examples
        return count

    def free(self) -> None:
        """Let go of graphs, so that the next group finds as much memory."""
        self._stack = None
        _free(self._operators.values())

    def making(self) -> dict[str, Any]:
        """Say how products are made, where it is otherwise than the batches' operators say."""
        if self._stack is None:
            return {}
        return {"graph_kept": True, "channels_last": False, "batches_at_once": len(self.numbers)}

    def _together(self, vectors: Mapping[int, Tensor]) -> list[Tensor]:
        stack = self._stack_of(list(vectors))
        places = {number: place for place, number in enumerate(self._stacked)}
        own = self._operators[self.numbers[0]]
        none = torch.zeros(own.num_params, dtype=own.dtype, device=own.device)
        rows = [vectors[n].to(none) if n in vectors else none for n in self._stacked]
        products = stack.products(torch.stack(rows))
        # One by one: a list of rows would be copied to the device, which waits for it.
        return [products[places[number]] for number in vectors]

    def _stack_of(self, numbers: list[int]) -> Stack:
        """Give a graph of these batches, and of no more than as many again that are finished."""
        if (
            self._stack is None
            or not set(numbers) <= set(self._stacked)
            or 2 * len(numbers) <= len(self._stacked)
        ):
            assert self._network is not None
            self._stack = None  # so that there is room for the next
            self._stacked = numbers
            operators: list[Any] = [self._operators[number] for number in numbers]
            self._stack = Stack(operators, self._network.with_folds(len(numbers)))
        return self._stack


class Folds:
    """The matrices A_1 .. A_F of one kind and one network, each of a batch of its own.

    Batches of one size go in one graph where that is known to be right and to pay; others are
    multiplied one by one. All share a network, and what is looked at before the first product.

    Parameters
    ----------
    operator
        Gives network, loss and settings; its own data do not matter.
    batches
        Examples of each batch, as of `NetworkOperator`.
    small
        Bytes that a batch may save at a layer, in the mean, to go in one graph with others.

    Attributes
    ----------
    operators
        The matrix of each batch by itself.

    Raises
    ------
    ValueError
        There is no batch, or one is empty; and whatever the operator refuses.
    """

    def __init__(
        self, operator: NetworkOperator, batches: Sequence[object], *, small: int = SMALL
    ) -> None:
        if not batches:
            raise ValueError("folds need at least one batch, got none")
        data = [as_data(batch) for batch in batches]
        first = operator.with_data(data[0], operator.chunk_size)
        first.settle()
        self._begin([first.with_data(own, operator.chunk_size) for own in data], small)

    @classmethod
    def over(cls, operators: Sequence[Operator], *, small: int = SMALL) -> Self:
        """Take matrices that there are already; those of one network go in one graph."""
        folds = cls.__new__(cls)
        folds._begin(operators, small)
        return folds

    def _begin(self, operators: Sequence[Operator], small: int) -> None:
        self.operators, self._small = list(operators), small
        self._pair: FoldedNetwork | None = None  # the network of the first two batches
        self._verdicts: dict[object, Verdict] = {}  # by what batches share

    def with_more(self, operators: Sequence[Operator]) -> Self:
        """Give the same with further batches; what has been found out of these is known."""
        more = copy.copy(self)
        more.operators = [*self.operators, *operators]
        return more

    def free(self) -> None:
        """Let go of the graphs that the batches' operators keep."""
        _free(self.operators)

    def groups(
        self, numbers: Sequence[int] | None = None, *, most: int | None = None
    ) -> list[Group]:
        """Divide batches into groups that go in one graph each; of one, where they do not.

        Parameters
        ----------
        numbers
            Of the batches; all by default.
        most
            How many of them may go together.
        """
        alike: dict[object, list[int]] = {}
        for number in range(len(self.operators)) if numbers is None else numbers:
            alike.setdefault(_kind_of(self.operators[number]), []).append(number)
        groups = []
        for kind, members in alike.items():
            at_once = min(self._most(kind, members), most or len(members))
            size = -(-len(members) // -(-len(members) // at_once))  # groups of nearly equal sizes
            for begin in range(0, len(members), size):
                own_numbers = members[begin : begin + size]
                operators = {number: self.operators[number] for number in own_numbers}
                groups.append(Group(operators, self._pair if len(operators) > 1 else None))
        return groups

    def products_of_all(self, block: Tensor) -> Tensor:
        """Multiply all matrices with the same vectors.

        Parameters
        ----------
        block
            Vectors as rows, shape (k, P).

        Returns
        -------
        Tensor
            Shape (F, k, P), float64.
        """
        products: dict[int, Tensor] = {}
        for group in self.groups():
            products |= dict(zip(group.numbers, group.products_of_all(block), strict=True))
            group.free()
        return torch.stack([products[number] for number in range(len(self.operators))])

    def _most(self, kind: object, members: Sequence[int]) -> int:
        """How many of some batches of one size may go in one graph."""
        if len(members) < 2:
            return 1
        own = [self.operators[number] for number in members]
        first: Any = own[0]  # a `NetworkOperator`, since there is another of its kind
        verdict, examples = self._verdict(kind, own), first.num_examples
        if not verdict.reason and verdict.bytes_per_layer * examples > self._small:
            per_layer = text.size(verdict.bytes_per_layer * examples)
            verdict = verdict._replace(reason=f"one has {per_layer} at a layer, enough for kernels")
        if verdict.reason:
            logger.info("batches are multiplied one by one, since %s", verdict.reason)
            return 1
        room = room_for_graphs(first._memory, first.device)
        fit = int(room // (SLACK * verdict.bytes_per_example * examples))
        most = max(1, min(len(members), fit))
        logger.info("%d batches go in one graph at a time, of %d", most, len(members))
        return most

    def _verdict(self, kind: object, operators: Sequence[Any]) -> Verdict:
        """Say whether batches go in one graph; a few examples tell for all of a kind."""
        first: NetworkOperator = operators[0]
        if first.batchnorm == "train":
            return Verdict(f"the {first.name} by batch statistics has no graph of several batches")
        first.settle()
        if first._no_rules:
            return Verdict(first._no_rules)
        if any(min(own.weights.chunks) <= 0 for own in operators):
            return Verdict("some have chunks without an example that counts")
        if kind not in self._verdicts:
            if self._pair is None:
                self._pair = FoldedNetwork(first.network, 2)
            pairs = [next(iter(o.data.chunks(o.chunk_size, o.dtype))) for o in operators[:2]]
            self._verdicts[kind] = stack_twin.examine(first, pairs, self._pair)
        return self._verdicts[kind]


def _free(operators: Iterable[Operator]) -> None:
    for operator in operators:
        if isinstance(operator, GraphOperator):
            operator.free()


def _kind_of(operator: Operator) -> object:
    """Tell what batches have to share to go in one graph: network, settings and sizes."""
    if not isinstance(operator, NetworkOperator) or not operator.goes_in_folds:
        return object()  # which is like no other
    sizes = tuple(chunk_sizes(operator.data, operator.chunk_size))
    return type(operator), id(operator.network), operator.weight_decay, sizes
