"""A mean over examples whose chunks are spread over processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian.operators.base import Operator
from truehessian.operators.batches import Data, Pair, chunk_sizes
from truehessian.operators.mean import NetworkOperator
from truehessian.operators.ranks import Ranks


class Part(NamedTuple):
    """Some successive chunks of data that are cut into chunks of a fixed size.

    Attributes
    ----------
    whole
        The data.
    begin, end
        Numbers of the first chunk, and of the one behind the last.
    size
        Examples of a chunk, as the whole is cut.
    """

    whole: Data
    begin: int
    end: int
    size: int

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each chunk."""
        return chunk_sizes(self.whole, self.size)[self.begin : self.end]

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return sum(self.sizes)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[Pair]:
        """Iterate over the chunks as the whole has them; `size` is theirs."""
        del size
        for number, pair in enumerate(self.whole.chunks(self.size, dtype)):
            if number >= self.end:
                return
            if number >= self.begin:
                yield pair


class Shared(Operator):
    """The matrix of an operator, of whose examples each process multiplies a share.

    Every process makes the same operator and asks for the same products; each gets the whole
    product, with the same bits. The sum over processes is made in float64, as that over chunks is.

    Parameters
    ----------
    operator
        Of all examples, the same in every process.
    ranks
        The processes, see `ranks.joined`.

    Raises
    ------
    ValueError
        There are fewer chunks than processes; batch statistics, which need whole chunks, allow
        no smaller ones.
    """

    def __init__(self, operator: NetworkOperator, ranks: Ranks) -> None:
        super().__init__(operator.num_params, operator.dtype, operator.device)
        self.semidefinite = operator.semidefinite
        self.whole, self.ranks = operator, ranks
        size = _chunk_size(operator, ranks.count)
        begin, end = shares(chunk_sizes(operator.data, size), ranks.count)[ranks.number]
        self._own = operator.with_data(Part(operator.data, begin, end, size), size)
        self._share: float | None = None

    @property
    def num_examples(self) -> int:
        """Number N of examples of the mean."""
        return self.whole.num_examples

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P), the same in every process; float64.

        Raises
        ------
        Exception
            What the operator raises, wherever it does; see `Ranks.sum`.
        """
        part = torch.zeros(block.shape, dtype=torch.float64, device=self.device)
        failure: Exception | None = None
        try:
            part = self._own.matmat(block).mul_(self._share_of_weight())
        except Exception as error:
            failure = error
        return self.ranks.sum(part, failure)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """As of the operator: whoever has the examples says what is not finite."""
        with self._own.unwatched():
            yield

    def describe(self) -> dict[str, Any]:
        """Say what the matrix is, as the operator does, and on how many processes."""
        own = self._own.describe()
        return {**own, **self._facts_of_all(), "processes": self.ranks.count}

    def traits(self) -> list[str]:
        """As of the operator, and which process this is."""
        return [*self.whole.traits(), f"rank {self.ranks.number} of {self.ranks.count}"]

    def _facts_of_all(self) -> dict[str, Any]:
        kept = ("num_examples", "chunk_size", "total_weight")
        whole = self.whole.describe()
        return {name: whole[name] for name in kept if name in whole}

    def _share_of_weight(self) -> float:
        if self._share is None:
            self._share = self._own.weights.total / self.whole.weights.total
        return self._share


def _chunk_size(operator: NetworkOperator, count: int) -> int:
    """Examples of a chunk: as asked for, or fewer where there would be nothing for a process."""
    chunks = len(chunk_sizes(operator.data, operator.chunk_size))
    if chunks >= count:
        return operator.chunk_size
    smaller = operator.num_examples // count
    if operator.batchnorm == "train" or hasattr(operator.data, "sizes") or not smaller:
        raise ValueError(
            f"{count} processes share {chunks} chunk(s) of {operator.num_examples} examples, so "
            "that some have nothing to do; take fewer ranks, or smaller batches of a loader"
        )
    return smaller


def shares(sizes: list[int], count: int) -> list[tuple[int, int]]:
    """Divide chunks among processes, successive ones to each, with nearly as many examples.

    Parameters
    ----------
    sizes
        Examples of each chunk, at least as many as processes.
    count
        Of processes.

    Returns
    -------
    list of (begin, end)
        Numbers of chunks, one at least for each process.
    """
    total, edges, done = sum(sizes), [0], 0
    for number, size in enumerate(sizes):
        left = count - len(edges)  # processes behind the present one
        done += size
        enough = done * count >= total * len(edges)
        if left and (enough or len(sizes) - number - 1 == left):
            edges.append(number + 1)
    return list(zip(edges, [*edges[1:], len(sizes)], strict=True))
