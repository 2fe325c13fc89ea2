"""Operators that are means over examples of a per-example curvature matrix of a network."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian.operators.base import Operator
from truehessian.operators.data import as_data
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.memory import graphs_fit, is_out_of_memory, saved_bytes
from truehessian.operators.precision import arithmetic, dtype_of

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]
BatchNormMode = Literal["eval", "train"]
Result = TypeVar("Result")
# Examples times vectors to pass through at once: kernels for fewer take as long.
_AT_ONCE = 128


class _Piece(NamedTuple):
    """The graph of some examples, and their share of the chunk."""

    examples: int
    share: float
    graph: Any


class _Chunk(NamedTuple):
    """The graphs of a chunk, of more than one piece where memory is short."""

    size: int
    pieces: list[_Piece]


class NetworkOperator(Operator):
    """(1/N) sum_i A_i over a fixed set of examples, in chunks weighted by their size.

    Parameters
    ----------
    model
        Any module; copied, so that nothing here changes it and its later training changes nothing
        here. Dropout is off. Frozen parameters count as parameters unless left out by name.
    data
        Examples, a pair of tensors (inputs, targets), or an iterable of such pairs, which is kept;
        `Stream` goes through a loader anew at every product.
    loss
        (outputs, targets) -> scalar, a mean over the examples given; cross-entropy by default.
    chunk_size
        Examples per forward pass. With batch statistics the chunks are part of the matrix;
        otherwise a chunk for which the memory does not suffice is passed through in pieces.
    precision
        `float32`, `tf32` or `float64`. Sums over chunks are float64 always.
    batchnorm
        `eval`: running statistics, the matrix is a mean over examples. `train`: the statistics of
        each chunk, for comparison with older work.
    parameters
        Patterns of parameter names, as in ``fnmatch``; the matrix is restricted to these.
    device
        Where to compute; where the model is by default.
    memory
        Bytes that graphs kept between products may take; a share of what is free by default.

    Raises
    ------
    ValueError
        An unknown precision or mode, a chunk size below 1, or patterns that match no parameter. At
        the first product: a network or data that do not repeat, so that there is no fixed matrix.
    """

    name = "operator"

    def __init__(
        self,
        model: nn.Module,
        data: object,
        *,
        loss: Loss = F.cross_entropy,
        chunk_size: int = 128,
        precision: str = "float32",
        batchnorm: BatchNormMode = "eval",
        parameters: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        memory: int | None = None,
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        dtype = dtype_of(precision)
        device = torch.device(device or next(model.parameters()).device)
        self.network = FrozenNetwork(
            model, batchnorm=batchnorm, parameters=parameters, device=device, dtype=dtype
        )
        super().__init__(self.network.num_params, dtype, device)
        self.data = as_data(data)
        self.loss = loss
        self.chunk_size = chunk_size
        self.precision = precision
        self.batchnorm = batchnorm
        self._memory = memory
        self._at_once = chunk_size  # examples that memory suffices for
        self._keep: bool | None = None
        self._kept: list[_Chunk] = []
        self._complete = False  # whether the graphs of all chunks are kept

    @property
    def num_examples(self) -> int:
        """Number N of examples of the mean."""
        return self.data.num_examples

    @abstractmethod
    def _linearise(self, inputs: Tensor, targets: Tensor) -> Any:
        """Do what a product needs that does not depend on the vector: the graph of a chunk."""

    @abstractmethod
    def _apply(self, graph: Any, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        """Multiply one chunk's matrix with one vector, given as a list of parameter shapes.

        The graph is used up unless `keep`.
        """

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P); float64."""
        total: Tensor | None = None
        for size, products in self.chunk_products(block):
            share = size / self.num_examples
            if total is None:
                total = products.double().mul_(share)
            else:
                total.add_(products, alpha=share)  # promoted to float64 before it is scaled
        assert total is not None
        return total

    def chunk_products(self, block: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Multiply the mean matrix of each chunk by itself with k vectors.

        Parameters
        ----------
        block
            Vectors as rows, shape (k, P). They share the primal pass.

        Yields
        ------
        size, products
            Number of examples in the chunk, and products of shape (k, P) in the operator's dtype.

        Raises
        ------
        FloatingPointError
            A product holds NaN or infinity; said after all chunks.
        torch.OutOfMemoryError
            The memory does not suffice for a single example, or for a chunk with batch statistics.
        """
        vectors = [self.network.unflatten(v) for v in block.to(self.device, self.dtype)]
        sizes, finite = [], []
        for size, products in self._chunk_products(vectors):
            sizes.append(size)
            finite.append(torch.isfinite(products.sum()))  # one pass; no wait for a GPU
            yield size, products
        if not bool(torch.stack(finite).all()):
            number = torch.stack(finite).tolist().index(False)
            first = sum(sizes[:number])
            raise FloatingPointError(
                f"the {self.name} product of chunk {number + 1} (examples {first} to "
                f"{first + sizes[number] - 1}) holds NaN or infinity; the weights may have "
                "diverged, try precision: float64"
            )

    def describe(self) -> dict[str, Any]:
        """Say what the matrix is and how its products are made."""
        return {
            "operator": self.name,
            "num_examples": self.num_examples,
            "num_parameters": self.num_params,
            "batchnorm": self.batchnorm,
            "precision": self.precision,
            "chunk_size": self.chunk_size,
            "examples_at_once": min(self._at_once, self.chunk_size, self.num_examples),
            "device": self.device.type,
            "graph_kept": bool(self._keep),
            "channels_last": bool(self.network.channels_last),
            "attention": "by definition" if self.network.attention else None,
        }

    def _chunk_products(self, vectors: list[list[Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """Go through the kept graphs; from where there are none, through the data."""
        done = 0
        for chunk in list(self._kept) if self._complete else []:
            products = self._attempt(partial(self._apply_all, chunk.pieces, vectors))
            if products is None:
                self._make_room(chunk.size)
                break
            done += 1
            yield chunk.size, products
        if self._complete:
            return
        self._kept = []
        for number, (inputs, targets) in enumerate(self.data.chunks(self.chunk_size, self.dtype)):
            if number < done:
                continue
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            if self._keep is None:
                self.network.settle(inputs[:2])
            yield len(inputs), self._multiply(inputs, targets, vectors)
        self._complete = self._keep is True and done == 0

    def _multiply(self, inputs: Tensor, targets: Tensor, vectors: list[list[Tensor]]) -> Tensor:
        """Multiply one chunk's matrix with vectors, in as many pieces as memory asks for."""
        while True:
            products = self._attempt(partial(self._pass_through, inputs, targets, vectors))
            if products is not None:
                return products
            self._make_room(len(inputs))

    def _pass_through(self, inputs: Tensor, targets: Tensor, vectors: list[list[Tensor]]) -> Tensor:
        pieces = []
        total: Tensor | float = 0.0
        parts = zip(inputs.split(self._at_once), targets.split(self._at_once), strict=True)
        for part, wanted in parts:
            piece = _Piece(len(part), len(part) / len(inputs), self._linearised(part, wanted))
            total = total + self._apply_all([piece], vectors)
            if self._keep:
                pieces.append(piece)
        if self._keep:
            self._kept.append(_Chunk(len(inputs), pieces))
        assert isinstance(total, Tensor)
        return total

    def _apply_all(self, pieces: list[_Piece], vectors: list[list[Tensor]]) -> Tensor:
        total: Tensor | None = None
        for examples, share, graph in pieces:
            products = torch.empty(
                len(vectors), self.num_params, dtype=self.dtype, device=self.device
            )
            at_once = max(1, _AT_ONCE // examples)
            for begin in range(0, len(vectors), at_once):
                some = slice(begin, begin + at_once)
                again = bool(self._keep) or begin + at_once < len(vectors)
                self._apply_some(graph, vectors[some], again, products[some])
            if share < 1:
                products = products.double() * share
            total = products if total is None else total + products
        assert total is not None
        return total

    def _apply_some(self, graph: Any, vectors: list[list[Tensor]], keep: bool, out: Tensor) -> None:
        """Multiply one chunk's matrix with vectors, and write the products as rows of `out`."""
        for number, vector in enumerate(vectors):
            again = keep or number + 1 < len(vectors)
            self.network.flatten(self._apply(graph, vector, again), out[number])

    def _attempt(self, multiply: Callable[[], Result]) -> Result | None:
        """Give None where the memory does not suffice; what a failed attempt held is free then."""
        try:
            with arithmetic(self.precision):
                return multiply()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _make_room(self, count: int) -> None:
        """Do without kept graphs, then with fewer examples at once."""
        if self._keep:
            logger.warning("out of memory: graphs are made anew for every product from here on")
            self._keep, self._kept, self._complete = False, [], False
        else:
            at_once = min(self._at_once, count)
            if at_once == 1 or self.batchnorm == "train":
                smaller = ", or a smaller chunk_size (chunks with batch statistics stay whole)"
                raise torch.OutOfMemoryError(
                    f"the memory of {self.device} does not suffice for {at_once} example(s) at "
                    f"once; free some, or take another device{smaller if at_once > 1 else ''}"
                )
            self._at_once, self._keep = at_once // 2, False
            logger.warning("out of memory: going on with %d examples at once", self._at_once)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _linearised(self, inputs: Tensor, targets: Tensor) -> Any:
        """Make a graph; from the first one decide whether those of all examples may be kept."""
        if self._keep is not None:
            return self._linearise(inputs, targets)
        with saved_bytes(besides=self.network.leaves) as saved:
            graph = self._linearise(inputs, targets)
        self._keep = self._fits(saved.bytes / len(inputs))
        return graph

    def _fits(self, bytes_per_example: float) -> bool:
        """Decide whether the graphs of all examples may be kept between products."""
        return graphs_fit(bytes_per_example, self.num_examples, self._memory, self.device)
