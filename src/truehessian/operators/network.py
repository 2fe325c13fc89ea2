"""Operators that are means over examples of a per-example curvature matrix of a network."""

import copy
import itertools
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import devices
from truehessian.operators import copies, twin
from truehessian.operators.additivity import LossAudit
from truehessian.operators.base import Operator
from truehessian.operators.bilinear import RulesDoNotHold
from truehessian.operators.data import as_data
from truehessian.operators.definition import ByDefinition
from truehessian.operators.diagnosis import ComputationError
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.layers import LayerRules
from truehessian.operators.losses import FrozenLoss, Loss
from truehessian.operators.memory import graphs_fit, is_out_of_memory, saved_bytes
from truehessian.operators.precision import arithmetic, dtype_of

logger = logging.getLogger(__name__)

BatchNormMode = Literal["eval", "train"]
Result = TypeVar("Result")
# Examples times vectors to pass through at once: kernels for fewer take as long.
_AT_ONCE = 128


class _Piece(NamedTuple):
    """The graph of some examples, and their share of the chunk."""

    examples: int
    share: float
    graph: Any


class Linearised(NamedTuple):
    """What does not depend on the vector: a graph, and the outputs that it goes through."""

    graph: Any
    outputs: Any


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
    TypeError
        Model, loss, data or patterns are of another kind than above.
    ValueError
        An unknown precision or mode, a chunk size below 1, patterns that match no parameter, or a
        network that has no matrix; see `FrozenNetwork`. At the first product: a network, loss or
        data that do not repeat, that fail, or whose loss is no mean, so that there is no fixed
        matrix.
    NotImplementedError
        At the first product: a layer has no second derivative.
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
        if not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, a whole number, got {chunk_size}")
        if memory is not None and (not isinstance(memory, int | float) or memory < 0):
            raise ValueError(f"memory must be a number of bytes from 0 on, or None, got {memory!r}")
        dtype = dtype_of(precision)
        device = _device_of(copies.unwrapped(model), device)
        self.network = FrozenNetwork(
            model, batchnorm=batchnorm, parameters=parameters, device=device, dtype=dtype
        )
        super().__init__(self.network.num_params, dtype, device)
        self.data = as_data(data)
        self.loss = FrozenLoss(loss, device, dtype)
        self.chunk_size = chunk_size
        self.precision = precision
        self.batchnorm = batchnorm
        self._memory = memory
        self._at_once = chunk_size  # examples that memory suffices for
        self._vectors_at_once = _AT_ONCE  # and vectors
        self._keep: bool | None = None
        self._kept: list[_Chunk] = []
        self._complete = False  # whether the graphs of all chunks are kept
        self._settled = False  # whether the first examples have been looked at
        self._no_rules = ""  # why there are no rules for layers
        self._audit: LossAudit | None = LossAudit(self.loss, self.network)

    @property
    def num_examples(self) -> int:
        """Number N of examples of the mean."""
        return self.data.num_examples

    @abstractmethod
    def _linearise(self, inputs: Tensor, targets: Tensor, how: ByDefinition) -> Linearised:
        """Do what a product needs that does not depend on the vector: the graph of a chunk."""

    @abstractmethod
    def _apply(self, graph: Any, vector: list[Tensor], keep: bool) -> Sequence[Tensor]:
        """Multiply one chunk's matrix with one vector, given as a list of parameter shapes.

        The graph is used up unless `keep`.
        """

    def _rules(self) -> LayerRules:
        """Make the rules by which this operator computes layers."""
        return LayerRules(self.dtype, self.device)

    def try_out(
        self, inputs: Tensor, targets: Tensor, directions: Sequence[Tensor], *, plain: bool
    ) -> tuple[Any, list[Tensor]]:
        """Multiply the matrix of a few examples, with the rules for layers or plainly.

        Parameters
        ----------
        inputs, targets
            The examples, on the operator's device and in its precision.
        directions
            Vectors of shape (P,).
        plain
            Whether to differentiate twice with nothing in the place of PyTorch's derivatives.

        Returns
        -------
        outputs, products
            What the network gives for the examples, and one product of shape (P,) per direction.
        """
        how = self.network.by_definition() if plain else self._rules()
        products = []
        with arithmetic("float64" if self.precision == "float64" else "float32"):
            graph, outputs = self._linearise(inputs, targets, how)
            for number, direction in enumerate(directions):
                again = number + 1 < len(directions)
                parts = self._apply(graph, self.network.unflatten(direction), again)
                products.append(torch.empty_like(direction))
                self.network.flatten(parts, products[-1])
        return outputs, products

    def check_first(self, products: Sequence[Tensor]) -> None:
        """Look at products of the first examples, for what is worth a word."""

    def double(self) -> Self:
        """Give the same operator in float64, for comparisons."""
        twin = copy.copy(self)
        twin.network, twin.loss = self.network.double(), self.loss.double()
        twin.dtype, twin.precision = torch.float64, "float64"
        twin._kept, twin._complete = [], False
        return twin

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
        if block.ndim != 2 or block.shape[1] != self.num_params:
            raise ValueError(
                f"expected vectors as rows, shape (k, {self.num_params}), got {tuple(block.shape)}"
            )
        block = block.to(self.device, self.dtype)
        sizes, finite = [], []
        for size, products in self._chunk_products(block):
            sizes.append(size)
            finite.append(torch.isfinite(products.sum()))  # one pass; no wait for a GPU
            yield size, products
            del products  # or it would lie beside those of the next chunk
        if not bool(torch.stack(finite).all()):
            number = torch.stack(finite).tolist().index(False)
            first = sum(sizes[:number])
            raise FloatingPointError(
                f"the {self.name} product of chunk {number + 1} (examples {first} to "
                f"{first + sizes[number] - 1}) holds NaN or infinity{self._why(number)}"
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
            "attention": "by definition" if "attention" in self.network.met else None,
            "differentiation": f"plain, since {self._no_rules}" if self._no_rules else "by rules",
        }

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
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            if not self._settled:
                self._settle(inputs, targets)
            yield len(inputs), self._multiply(inputs, targets, block)
        self._complete = self._keep is True and done == 0
        self._audit = None

    def _settle(self, inputs: Tensor, targets: Tensor) -> None:
        """Look at the first examples, and choose how products are made."""
        try:
            with arithmetic("float64" if self.precision == "float64" else "float32"):
                self._no_rules = twin.examine(self, inputs, targets)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise self._short_of_memory(len(inputs[:2])) from error
        self._settled = True

    def _multiply(self, inputs: Tensor, targets: Tensor, block: Tensor) -> Tensor:
        """Multiply one chunk's matrix with vectors, in as many pieces as memory asks for."""
        while True:
            products = self._attempt(partial(self._pass_through, inputs, targets, block))
            if products is not None:
                return products
            self._make_room(len(inputs))

    def _pass_through(self, inputs: Tensor, targets: Tensor, block: Tensor) -> Tensor:
        pieces = []
        total: Tensor | None = None
        parts = zip(inputs.split(self._at_once), targets.split(self._at_once), strict=True)
        for part, wanted in parts:
            piece = _Piece(len(part), len(part) / len(inputs), self._linearised(part, wanted))
            products = self._apply_all([piece], block)
            total = products if total is None else total.add_(products)
            if self._keep:
                pieces.append(piece)
        if self._keep:
            self._kept.append(_Chunk(len(inputs), pieces))
        assert total is not None
        return total

    def _apply_kept(self, number: int, block: Tensor) -> Tensor:
        return self._apply_all(self._kept[number].pieces, block)

    def _apply_all(self, pieces: list[_Piece], block: Tensor) -> Tensor:
        total: Tensor | None = None
        for examples, share, graph in pieces:
            products = torch.empty_like(block)
            begin = 0
            while begin < len(block):
                at_once = min(max(1, _AT_ONCE // examples), self._vectors_at_once)
                some = slice(begin, begin + at_once)
                vectors = [self.network.unflatten(vector) for vector in block[some]]
                again = bool(self._keep) or begin + at_once < len(block)
                if self._fits_at_once(graph, vectors, again, products[some]):
                    begin += at_once
                else:
                    self._vectors_at_once = at_once // 2
                    logger.warning("out of memory: going on with %d vectors at once", at_once // 2)
            if share < 1:
                products = products.double() * share
            total = products if total is None else total.add_(products)
        assert total is not None
        return total

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
            with arithmetic(self.precision):
                return multiply()
        except Exception as error:
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

    def _linearised(self, inputs: Tensor, targets: Tensor) -> Any:
        """Make a graph; from the first one decide whether those of all examples may be kept."""
        if self._keep is not None:
            return self._graph(inputs, targets)
        try:
            with saved_bytes(besides=self.network.leaves) as saved:
                graph = self._graph(inputs, targets)
        except ComputationError:  # `torch.func` within the network takes no hooks that count
            self._keep = False
            return self._graph(inputs, targets)
        self._keep = self._fits(saved.bytes / len(inputs))
        return graph

    def _graph(self, inputs: Tensor, targets: Tensor) -> Any:
        """Make a graph by rules for layers, or plainly from where they do not hold."""
        made: Linearised | None = None
        if not self._no_rules:
            try:
                made = self._linearise(inputs, targets, self._rules())
            except RulesDoNotHold as error:
                self._no_rules = str(error)
                logger.warning("products are made by plain differentiation, since %s", error)
        if made is None:
            made = self._linearise(inputs, targets, self.network.by_definition())
        if self._audit is not None and made.outputs is not None:
            self._audit.add(inputs, made.outputs, targets)
        return made.graph

    def _why(self, number: int) -> str:
        """Say what is not finite in a chunk's product, as far as it can be told."""
        chunks = self.data.chunks(self.chunk_size, self.dtype)
        inputs, targets = next(itertools.islice(chunks, number, None))
        try:
            return twin.why_not_finite(self, inputs.to(self.device), targets.to(self.device))
        except Exception:  # the sentence without a cause is better than none
            return ""

    def _fits(self, bytes_per_example: float) -> bool:
        """Decide whether the graphs of all examples may be kept between products."""
        return graphs_fit(bytes_per_example, self.num_examples, self._memory, self.device)


def _device_of(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """Choose a device, with its number, so that equal devices compare equal."""
    if device is None:
        first = next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0))
        return first.device
    return devices.numbered(device)
