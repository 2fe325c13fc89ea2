"""Products of a mean over chunks by graphs, which are kept where memory suffices."""

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.operators.base import Operator
from truehessian.operators.batches import Data
from truehessian.operators.diagnosis import ComputationError, words
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.memory import graphs_fit, is_out_of_memory, saved_bytes
from truehessian.operators.pieces import Chunk, Piece
from truehessian.operators.precision import arithmetic
from truehessian.operators.replay import Replay, aside, recorder_of

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# Examples times vectors to pass through at once: kernels for fewer take as long.
_AT_ONCE = 128


class GraphOperator(Operator):
    """A mean over chunks whose matrices are known by graphs.

    Graphs are kept between products where those of all chunks fit into memory. Where memory runs
    out, they are made anew; then fewer vectors, and then fewer examples pass through at once.

    Parameters
    ----------
    network
        Its parameters are those that vectors are cut into.
    data, chunk_size
        Examples, and how many of them make a chunk.
    precision
        Of the arithmetic.
    memory
        Bytes that kept graphs may take; a share of what is free by default.
    whole
        Whether chunks must not be passed through in pieces.
    """

    goes_in_folds = False  # whether its graphs may be those of several batches, see `folds`

    def __init__(
        self,
        network: FrozenNetwork,
        data: Data,
        *,
        chunk_size: int,
        precision: str,
        memory: int | None,
        whole: bool,
    ) -> None:
        super().__init__(network.num_params, network.dtype, network.device)
        self.network, self.data = network, data
        self.chunk_size, self.precision = chunk_size, precision
        self._memory, self._whole = memory, whole
        # Of these alone a product by a graph is nothing but differentiation.
        self._recorder = recorder_of(self.device) if self.goes_in_folds else None
        self._at_once = chunk_size  # examples that memory suffices for
        self._vectors_at_once = _AT_ONCE  # and vectors
        self._keep: bool | None = None
        self._kept: list[Chunk] = []
        self._complete = False  # whether the graphs of all chunks are kept
        self._settled = False  # whether the first examples have been looked at

    @property
    def num_examples(self) -> int:
        """Number N of examples of the mean."""
        return self.data.num_examples

    def with_data(self, data: Data, chunk_size: int) -> Self:
        """Give the operator of other examples, or of the same in other chunks.

        The two share the network; what memory was found to suffice for is found out anew.
        """
        twin = copy.copy(self)
        twin.data, twin.chunk_size, twin._at_once = data, chunk_size, chunk_size
        twin.free()
        return twin

    def free(self) -> None:
        """Let go of graphs that are kept between products; the next one makes them again."""
        self._keep, self._kept, self._complete = None, [], False

    @abstractmethod
    def _settle(self, inputs: Tree, targets: Tree) -> None:
        """Look at the first examples, and choose how products are made."""

    @abstractmethod
    def _graph(self, inputs: Tree, targets: Tree) -> Any:
        """Make the graph of some examples."""

    @abstractmethod
    def _apply(self, graph: Any, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        """Multiply one chunk's matrix with one vector, given as a list of parameter shapes.

        The graph is used up unless `keep`.
        """

    def _counts(self, number: int) -> bool:
        """Whether any example of a chunk has a weight."""
        del number
        return True

    def _shares(self, parts: Sequence[Tree]) -> list[float]:
        """Give the share of each part of a chunk's targets in the weight of the chunk."""
        counts = [trees.count(part) for part in parts]
        return [count / sum(counts) for count in counts]

    def _of_leaves(self, graph: Any, places: Sequence[int]) -> Any:
        """Give the part of a graph that products by some of the leaves need, see `blocks`."""
        raise NotImplementedError

    def _finish_pass(self) -> None:
        """Do what is to be done once all chunks have been seen."""

    def _chunk_products(self, block: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Go through the kept graphs; from where there are none, through the data."""
        done = 0
        while self._complete and done < len(self._kept):
            size = self._kept[done].size
            products = self._attempt(partial(self._apply_kept, done, block))
            if products is None:
                self._make_room(size)
                break
            done += 1
            yield size, products
            del products
        if self._complete:
            return
        self._kept = []
        for number, (inputs, targets) in enumerate(self.data.chunks(self.chunk_size, self.dtype)):
            if number < done:
                continue
            inputs, targets = (trees.moved(tree, self.device) for tree in (inputs, targets))
            counts = self._counts(number)
            if counts and not self._settled:
                self._settle(inputs, targets)
            yield trees.count(targets), self._multiply(inputs, targets, block, counts)
        self._complete = self._keep is True and done == 0
        self._finish_pass()

    def _multiply(self, inputs: Tree, targets: Tree, block: Tensor, counts: bool) -> Tensor:
        """Multiply one chunk's matrix with vectors, in as many pieces as memory asks for."""
        while True:
            products = self._attempt(partial(self._pass_through, inputs, targets, block, counts))
            if products is not None:
                return products
            self._make_room(trees.count(targets))

    def _pass_through(self, inputs: Tree, targets: Tree, block: Tensor, counts: bool) -> Tensor:
        made: list[Piece] = []
        pieces = self._pieces(inputs, targets, made) if counts else iter(())
        total = self._apply_all(pieces, block)
        if self._keep or (self._keep is None and not counts):
            self._kept.append(Chunk(trees.count(targets), made))
        return total

    def _pieces(self, inputs: Tree, targets: Tree, made: list[Piece]) -> Iterator[Piece]:
        """Make the graphs of a chunk one by one; those that are kept are listed in `made`."""
        parts, wanted_parts = (list(trees.split(t, self._at_once)) for t in (inputs, targets))
        shares = [1.0] if len(parts) == 1 else self._shares(wanted_parts)
        for part, wanted, share in zip(parts, wanted_parts, shares, strict=True):
            if not share:
                continue
            graph = self._linearised(part, wanted)
            piece = Piece(trees.count(wanted), share, graph, self._replay(graph))
            if self._keep:
                made.append(piece)
            yield piece

    def _replay(self, graph: Any) -> Replay | None:
        """Give what replays products by a graph that is kept, where they can be recorded."""
        if not self._keep or self._recorder is None:
            return None
        return Replay(lambda vector: self._apply(graph, vector, True), self._recorder)

    def _apply_kept(self, number: int, block: Tensor) -> Tensor:
        return self._apply_all(self._kept[number].pieces, block)

    def _apply_all(self, pieces: Iterable[Piece], block: Tensor) -> Tensor:
        total: Tensor | None = None
        for piece in pieces:
            products = torch.empty_like(block)
            if piece.replay is None:
                self._apply_piece(piece, block, products)
            else:
                for vector, product in zip(block, products, strict=True):
                    self.network.flatten(piece.replay(self.network.unflatten(vector)), product)
            if piece.share < 1:
                products = products.double() * piece.share
            total = products if total is None else total.add_(products)
        return torch.zeros_like(block) if total is None else total

    def _apply_piece(self, piece: Piece, block: Tensor, products: Tensor) -> None:
        """Multiply with as many vectors at once as memory suffices for."""
        begin = 0
        while begin < len(block):
            at_once = min(max(1, _AT_ONCE // piece.examples), self._vectors_at_once)
            some = slice(begin, begin + at_once)
            vectors = [self.network.unflatten(vector) for vector in block[some]]
            # Several may not fit, and are tried again in smaller groups.
            last = begin + at_once >= len(block) and len(vectors) == 1
            again = bool(self._keep) or not last
            if self._fits_at_once(piece.graph, vectors, again, products[some]):
                begin += at_once
            else:
                self._vectors_at_once = at_once // 2
                logger.warning("out of memory: going on with %d vectors at once", at_once // 2)

    def _fits_at_once(
        self, graph: Any, vectors: list[list[Tensor]], keep: bool, out: Tensor
    ) -> bool:
        """Multiply with some vectors; False where the memory suffices for fewer only."""
        try:
            self._apply_some(graph, vectors, keep, out)
        except Exception as error:
            if len(vectors) == 1 or not is_out_of_memory(error):
                raise
            return False
        return True

    def _apply_some(self, graph: Any, vectors: list[list[Tensor]], keep: bool, out: Tensor) -> None:
        """Multiply one chunk's matrix with vectors, and write the products as rows of `out`."""
        for number, vector in enumerate(vectors):
            again = keep or number + 1 < len(vectors)
            self.network.flatten(self._apply(graph, vector, again), out[number])

    def _attempt(self, multiply: Callable[[], Result]) -> Result | None:
        """Give None where the memory does not suffice; what a failed attempt held is free then."""
        try:
            with arithmetic(self.precision), aside(self._recorder):
                return multiply()
        except Exception as error:
            if not is_out_of_memory(error):
                if type(error) is not RuntimeError:
                    raise
                raise ComputationError(
                    f"a product fails though the first examples had one: {words(error)} (a network "
                    "that keeps tensors from one call to the next may be the cause)"
                ) from error
        return None

    def _make_room(self, count: int) -> None:
        """Do without kept graphs, then with fewer examples at once."""
        if self._keep:
            logger.warning("out of memory: graphs are made anew for every product from here on")
            self._keep, self._kept, self._complete = False, [], False
        else:
            at_once = min(self._at_once, count)
            if at_once == 1 or self._whole:
                raise self._short_of_memory(at_once)
            self._at_once, self._keep = at_once // 2, False
            logger.warning("out of memory: going on with %d examples at once", self._at_once)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _short_of_memory(self, at_once: int) -> torch.OutOfMemoryError:
        smaller = ", or a smaller chunk_size (chunks with batch statistics stay whole)"
        return torch.OutOfMemoryError(
            f"the memory of {self.device} does not suffice for {at_once} example(s) at "
            f"once; free some, or take another device{smaller if at_once > 1 else ''}"
        )

    def _linearised(self, inputs: Tree, targets: Tree) -> Any:
        """Make a graph; from the first one decide whether those of all examples may be kept."""
        if self._keep is not None:
            return self._graph(inputs, targets)
        try:
            with saved_bytes(besides=self.network.leaves) as saved:
                graph = self._graph(inputs, targets)
        except ComputationError:  # `torch.func` within the network takes no hooks that count
            self._keep = False
            return self._graph(inputs, targets)
        self._keep = self._fits(saved.bytes / trees.count(targets))
        return graph

    def _fits(self, bytes_per_example: float) -> bool:
        """Decide whether the graphs of all examples may be kept between products."""
        return graphs_fit(bytes_per_example, self.num_examples, self._memory, self.device)
