"""A mean over chunks of examples that count by the weights of a loss."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor

from truehessian.data.trees import Tree
from truehessian.operators.batches import Data
from truehessian.operators.frozen import FrozenNetwork
from truehessian.operators.graphs import GraphOperator
from truehessian.operators.losses import FrozenLoss
from truehessian.operators.weights import Weights, weights_of


class WeightedMean(GraphOperator):
    """sum_i w_i A_i / sum_i w_i, whose chunks are known by graphs.

    Parameters
    ----------
    network, data, **settings
        As of `GraphOperator`.
    loss
        Gives the weights; 1 by default.
    weight_decay
        What the matrix has of the identity, see `penalty`.
    """

    name = "operator"
    weight_decay = 0.0

    def __init__(
        self, network: FrozenNetwork, data: Data, loss: FrozenLoss, **settings: Any
    ) -> None:
        super().__init__(network, data, **settings)
        self.loss = loss
        self._weights: Weights | None = None
        self._watches = True  # whether products are looked at as soon as they are made
        self._seen: tuple[list[int], list[Tensor]] = ([], [])

    @abstractmethod
    def _why(self, number: int) -> str:
        """Say what is not finite in a chunk's product, as far as it can be told."""

    @property
    def weights(self) -> Weights:
        """How much each chunk of the examples counts; the first time a pass over their targets."""
        if self._weights is None:
            self._weights = weights_of(self.loss, self.data, self.chunk_size, self.dtype)
        return self._weights

    def with_data(self, data: Data, chunk_size: int) -> Self:
        """As of every operator of graphs; weights are counted anew."""
        twin = super().with_data(data, chunk_size)
        twin._weights = None
        return twin

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P); float64."""
        total: Tensor | None = None
        weights = iter(self.weights.chunks)
        for _, products in self.chunk_products(block):
            share = next(weights) / self.weights.total
            if total is None:
                total = products.double().mul_(share)
            else:
                total.add_(products, alpha=share)  # promoted to float64 before it is scaled
        assert total is not None
        return total

    def chunk_products(self, block: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Multiply the mean matrix of each chunk, with the penalty's, by itself with k vectors.

        Parameters
        ----------
        block
            Vectors as rows, shape (k, P). They share the primal pass.

        Yields
        ------
        size, products
            Number of examples in the chunk, and products of shape (k, P) in the operator's dtype:
            of the penalty alone where no example of the chunk counts. Its weight is in `weights`.

        Raises
        ------
        FloatingPointError
            A product holds NaN or infinity; said after all chunks, unless it is `unwatched`.
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
            if self.weight_decay:
                products.add_(block, alpha=self.weight_decay)
            yield size, products
            del products  # or it would lie beside those of the next chunk
        self._seen = sizes, finite
        if self._watches:
            self._look()

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Leave it to the caller to see that a product is not finite; said of the last one."""
        self._watches = False
        try:
            yield
        except FloatingPointError:
            self._look()
            raise
        finally:
            self._watches = True

    def _look(self) -> None:
        """Complain about the last pass if a product holds NaN or infinity."""
        sizes, finite = self._seen
        if not finite or bool(torch.stack(finite).all()):
            return
        number = torch.stack(finite).tolist().index(False)
        first = sum(sizes[:number])
        raise FloatingPointError(
            f"the {self.name} product of chunk {number + 1} (examples {first} to "
            f"{first + sizes[number] - 1}) holds NaN or infinity{self._why(number)}"
        ) from None

    def _counts(self, number: int) -> bool:
        return self.weights.chunks[number] > 0

    def _shares(self, parts: Sequence[Tree]) -> list[float]:
        if self.weights.are_equal:
            return super()._shares(parts)
        weights = [w.sum() for w in map(self.loss.weights, parts) if w is not None]
        sums = torch.stack(weights)
        shares: list[float] = (sums / sums.sum()).tolist()
        return shares
