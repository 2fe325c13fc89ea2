"""Operators that are means over examples of a per-example curvature matrix of a network."""

import copy
import itertools
import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.operators import causes, copies, penalty, twin
from truehessian.operators.additivity import LossAudit
from truehessian.operators.autograd.bilinear import RulesDoNotHold
from truehessian.operators.autograd.definition import ByDefinition
from truehessian.operators.autograd.layers import LayerRules
from truehessian.operators.batches import as_data
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.losses import FrozenLoss, Loss, name_of
from truehessian.operators.memory import is_out_of_memory
from truehessian.operators.precision import dtype_of
from truehessian.operators.weighted import WeightedMean

logger = logging.getLogger(__name__)

BatchNormMode = Literal["eval", "train"]
# What an operator says of how its products are made: it is chosen at the first one, and may change.
MAKING = (
    "examples_at_once",
    "device",
    "graph_kept",
    "batches_at_once",
    "channels_last",
    "attention",
    "differentiation",
    "processes",
)


class Linearised(NamedTuple):
    """What does not depend on the vector: a graph, and the outputs that it goes through."""

    graph: Any
    outputs: Any


class NetworkOperator(WeightedMean):
    """sum_i w_i A_i / sum_i w_i over a fixed set of examples, in chunks weighted by their w_i.

    The weights w_i are 1, or what the loss gives: see `networks.losses.base.WeightedLoss`.

    Parameters
    ----------
    model
        Any module; copied, so that nothing here changes it and its later training changes nothing
        here. Dropout is off. Frozen parameters count as parameters unless left out by name.
    data
        Examples, a pair (inputs, targets) or a mapping with the key `labels` beside those of the
        inputs, or an iterable of such batches, which is kept; `Stream` goes through a loader anew
        at every product. Inputs and targets are tensors, or tuples, lists or mappings of tensors:
        the network is called as `model(inputs)`, `model(*inputs)` or `model(**inputs)`.
    loss
        (outputs, targets) -> scalar, a mean over the examples given, or the name of one in
        `networks.losses.LOSSES`; cross-entropy by default.
    chunk_size
        Examples per forward pass. With batch statistics the chunks are part of the matrix;
        otherwise a chunk for which the memory does not suffice is passed through in pieces.
    precision
        `float32`, `tf32` or `float64`. Sums over chunks are float64 always.
    batchnorm
        `eval`: running statistics, the matrix is a mean over examples. `train`: the statistics of
        each chunk, for comparison with older work.
    parameters
        Patterns of names (``fnmatch``) that the matrix is restricted to; or `trainable`.
    device
        Where to compute; where the model is by default.
    memory
        Bytes that graphs kept between products may take; a share of what is free by default.
    weight_decay
        d of a penalty d |w|² / 2 beside the loss: the matrix has d I more, on its parameters.

    Raises
    ------
    TypeError
        Model, loss, data or patterns are of another kind than above.
    ValueError
        An unknown precision or mode, a chunk size below 1, patterns that match no parameter, a
        weight decay below 0, or a network that has no matrix; see `FrozenNetwork`. At the first
        product: a network, loss or data that do not repeat, that fail, or whose loss is no mean, so
        that there is no fixed matrix.
    NotImplementedError
        At the first product: a layer has no second derivative.
    """

    name = "operator"
    takes_weight_decay = True

    def __init__(
        self,
        model: nn.Module,
        data: object,
        *,
        loss: Loss | str = F.cross_entropy,
        chunk_size: int = 128,
        precision: str = "float32",
        batchnorm: BatchNormMode = "eval",
        parameters: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        memory: int | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, a whole number, got {chunk_size}")
        if memory is not None and (not isinstance(memory, int | float) or memory < 0):
            raise ValueError(f"memory must be a number of bytes from 0 on, or None, got {memory!r}")
        dtype = dtype_of(precision)
        device = copies.device_of(model, device)
        network = FrozenNetwork(
            model, batchnorm=batchnorm, parameters=parameters, device=device, dtype=dtype
        )
        super().__init__(
            network,
            as_data(data),
            FrozenLoss(loss, device, dtype),
            chunk_size=chunk_size,
            precision=precision,
            memory=memory,
            whole=batchnorm == "train",
        )
        self.batchnorm = batchnorm
        self.weight_decay = penalty.checked(weight_decay)
        self._no_rules = ""  # why there are no rules for layers
        self._audit: LossAudit | None = LossAudit(self.loss, self.network)
        self._tf32_error: float | None = None  # of a product, once it has been measured

    @abstractmethod
    def _linearise(self, inputs: Tree, targets: Tree, how: ByDefinition) -> Linearised:
        """Do what a product needs that does not depend on the vector: the graph of a chunk."""

    def _rules(self) -> LayerRules:
        """Make the rules by which this operator computes layers."""
        return LayerRules(self.dtype, self.device)

    def settle(self) -> None:
        """Look at the first examples now; what `with_data` gives has been looked at then."""
        if self._settled:
            return
        chunks = enumerate(self.data.chunks(self.chunk_size, self.dtype))
        first = next(pair for number, pair in chunks if self._counts(number))
        self._settle(*(trees.moved(tree, self.device) for tree in first))

    def try_out(
        self, inputs: Tree, targets: Tree, directions: Sequence[Tensor], *, plain: bool
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
        graph, outputs = self._linearise(inputs, targets, how)
        products = [torch.empty_like(direction) for direction in directions]
        for number, (direction, product) in enumerate(zip(directions, products, strict=True)):
            again = number + 1 < len(directions)
            parts = self._apply(graph, self.network.unflatten(direction), again)
            self.network.flatten(parts, product)
        return outputs, products

    def check_loss(self, outputs: Any, targets: Tree) -> None:
        """Look at the loss of the first examples, for what is worth a word."""

    def with_loss(self, loss: Any) -> Self:
        """Give the same operator of another loss, for comparisons; it shares the network."""
        twin = copy.copy(self)
        twin.loss = loss
        return twin

    def double(self) -> Self:
        """Give the same operator in float64, for comparisons."""
        twin = copy.copy(self)
        twin.network, twin.loss = self.network.double(), self.loss.double()
        twin.dtype, twin.precision = torch.float64, "float64"
        twin._kept, twin._complete = [], False
        return twin

    def traits(self) -> list[str]:
        """Name network, sizes and loss, and where and how precisely products are made."""
        size, *where = super().traits()
        where[0] = self.precision
        network = [type(self.network.module).__name__, size, f"N={self.num_examples:,}"]
        decay = [f"weight_decay={self.weight_decay:g}"] if self.weight_decay else []
        return [*network, f"loss={name_of(self.loss.own)}", *decay, *where]

    def describe(self) -> dict[str, Any]:
        """Say what the matrix is, and under the keys of `MAKING` how its products are made."""
        made = (
            min(self._at_once, self.chunk_size, self.num_examples),
            self.device.type,
            bool(self._keep),
            1,
            bool(self.network.channels_last),
            "by definition" if "attention" in self.network.met else None,
            f"plain, since {self._no_rules}" if self._no_rules else "by rules",
            1,
        )
        return {
            "operator": self.name,
            "num_examples": self.num_examples,
            **self.network.counts,
            "batchnorm": self.batchnorm,
            "precision": self.precision,
            "chunk_size": self.chunk_size,
            "weight_decay": self.weight_decay,
            **dict(zip(MAKING, made, strict=True)),
            **({} if self._tf32_error is None else {"tf32_error": self._tf32_error}),
            **({} if self.weights.are_equal else {"total_weight": self.weights.total}),
        }

    def _finish_pass(self) -> None:
        self._audit = None

    def _settle(self, inputs: Tree, targets: Tree) -> None:
        """Look at the first examples, and choose how products are made."""
        try:
            self._no_rules = twin.examine(self, inputs, targets)
            if self.precision == "tf32":
                plain = bool(self._no_rules)
                self._tf32_error = twin.error_of_tf32(self, inputs, targets, plain=plain)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise self._short_of_memory(min(trees.count(targets), 2)) from error
        self._settled = True

    def _graph(self, inputs: Tree, targets: Tree) -> Any:
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
            inputs, targets = (trees.moved(tree, self.device) for tree in (inputs, targets))
            return causes.why_not_finite(self, inputs, targets)
        except Exception:  # the sentence without a cause is better than none
            return ""
