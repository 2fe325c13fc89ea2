"""Operators that are means over examples of a per-example curvature matrix of a network."""

import copy
import fnmatch
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian.operators.base import Operator
from truehessian.operators.data import as_data
from truehessian.operators.memory import available_bytes, saved_bytes
from truehessian.operators.precision import arithmetic, dtype_of

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]
BatchNormMode = Literal["eval", "train"]


class NetworkOperator(Operator):
    """(1/N) sum_i A_i over a fixed set of examples, in chunks weighted by their size.

    Parameters
    ----------
    model
        Any module; copied, so that nothing here changes it and its later training changes nothing
        here. Dropout is off. Frozen parameters count as parameters unless left out by name.
    data
        Examples, a pair of tensors (inputs, targets), or an iterable of such pairs, which is kept.
    loss
        (outputs, targets) -> scalar, a mean over the examples given; cross-entropy by default.
    chunk_size
        Examples per forward pass. With batch statistics the chunks are part of the matrix.
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
        An unknown precision or mode, a chunk size below 1, or patterns that match no parameter.
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
        self._model = _prepared(model, batchnorm).to(device=device, dtype=dtype)
        self._selected = _select(self._model, parameters)
        super().__init__(sum(p.numel() for p in self._selected.values()), dtype, device)
        self.data = as_data(data)
        self.loss = loss
        self.chunk_size = chunk_size
        self.precision = precision
        self.batchnorm = batchnorm
        self._memory = memory
        self._kept: list[Any] | None = None
        self._keep: bool | None = None

    @property
    def num_examples(self) -> int:
        """Number N of examples of the mean."""
        return self.data.num_examples

    @abstractmethod
    def _linearise(self, inputs: Tensor, targets: Tensor) -> Any:
        """Do what a product needs that does not depend on the vector: the graph of a chunk."""

    @abstractmethod
    def _apply(self, graph: Any, vector: list[Tensor]) -> list[Tensor]:
        """Multiply one chunk's matrix with one vector, given as a list of parameter shapes."""

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P); float64."""
        total = torch.zeros(block.shape, dtype=torch.float64, device=self.device)
        for number, (size, products) in enumerate(self.chunk_products(block)):
            if not bool(torch.isfinite(products).all()):
                raise FloatingPointError(
                    f"the {self.name} product of chunk {number + 1} (examples "
                    f"{number * self.chunk_size} to {number * self.chunk_size + size - 1}) holds "
                    "NaN or infinity; the weights may have diverged, try precision: float64"
                )
            total += products.double() * (size / self.num_examples)
        return total

    def chunk_products(self, block: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Multiply the mean matrix of each chunk by itself with k vectors.

        Parameters
        ----------
        block
            Vectors as rows, shape (k, P).

        Yields
        ------
        size, products
            Number of examples in the chunk, and products of shape (k, P) in the operator's dtype.
        """
        vectors = [self._unflatten(vector) for vector in block.to(self.device, self.dtype)]
        for size, graph in self._graphs():
            with arithmetic(self.precision):
                products = [self._flatten(self._apply(graph, vector)) for vector in vectors]
            yield size, torch.stack(products)

    def describe(self) -> dict[str, Any]:
        """Say what the matrix is and how its products are made."""
        return {
            "operator": self.name,
            "num_examples": self.num_examples,
            "num_parameters": self.num_params,
            "batchnorm": self.batchnorm,
            "precision": self.precision,
            "chunk_size": self.chunk_size,
            "device": self.device.type,
            "graph_kept": bool(self._keep),
        }

    def _graphs(self) -> Iterator[tuple[int, Any]]:
        """Give each chunk's graph: kept from the product before where memory allows."""
        if self._kept is not None:
            yield from self._kept
            return
        kept = []
        for inputs, targets in self.data.chunks(self.chunk_size, self.dtype):
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            if self._keep is None:
                self._keep = self._fits(inputs, targets)
            with arithmetic(self.precision):
                graph = self._linearise(inputs, targets)
            if self._keep:
                kept.append((len(inputs), graph))
            yield len(inputs), graph
        if self._keep:
            self._kept = kept

    def _fits(self, inputs: Tensor, targets: Tensor) -> bool:
        """Decide whether the graphs of all chunks may be kept, from the size of the first one."""
        with saved_bytes() as saved:
            self._linearise(inputs, targets)
        # Half as much again: what a product needs beside the kept graphs, and fragmentation.
        needed = 1.5 * saved.bytes * self.num_examples / len(inputs)
        budget = self._memory if self._memory is not None else available_bytes(self.device) // 4
        keep = needed <= budget
        logger.info(
            "graphs of %d examples would take %.2f GB of a budget of %.2f GB: %s",
            self.num_examples,
            needed / 1e9,
            budget / 1e9,
            "kept" if keep else "made anew for every product",
        )
        return keep

    def _forward(self, inputs: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        # Batch statistics update the running ones in place: let them do it to copies.
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        outputs = torch.func.functional_call(self._model, (parameters, buffers), (inputs,))
        assert isinstance(outputs, Tensor)
        return outputs

    def _unflatten(self, vector: Tensor) -> list[Tensor]:
        sizes = [p.numel() for p in self._selected.values()]
        return [
            part.view(p.shape)
            for part, p in zip(vector.split(sizes), self._selected.values(), strict=True)
        ]

    def _flatten(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _prepared(model: nn.Module, batchnorm: str) -> nn.Module:
    if batchnorm not in ("eval", "train"):
        raise ValueError(f"batchnorm must be 'eval' or 'train', got {batchnorm!r}")
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(batchnorm == "train")
    return model


def _select(model: nn.Module, patterns: Sequence[str] | None) -> dict[str, Tensor]:
    """Leaves that require gradients, in the order of the model, for the parameters wanted."""
    names = [
        name
        for name, _ in model.named_parameters()
        if patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not names:
        raise ValueError(
            f"no parameter matches {list(patterns or [])}; the model has "
            f"{', '.join(name for name, _ in model.named_parameters()) or 'no parameters'}"
        )
    return {name: model.get_parameter(name).detach().requires_grad_(True) for name in names}
