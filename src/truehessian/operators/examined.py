"""What the checks of an operator have to know of it."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from truehessian.data.trees import Tree
from truehessian.operators.frozen import FrozenNetwork


class Examined(Protocol):
    """An operator that is a mean over examples, as `twin` and `causes` see it."""

    name: str
    num_params: int
    dtype: torch.dtype
    device: torch.device
    batchnorm: Any
    network: FrozenNetwork
    loss: Any

    def try_out(
        self, inputs: Tree, targets: Tree, directions: Sequence[Tensor], *, plain: bool
    ) -> tuple[Any, list[Tensor]]:
        """Multiply a few examples' matrix with directions, plainly or by the rules of layers."""

    def with_loss(self, loss: Any) -> Self:
        """Take another loss."""

    def double(self) -> Self:
        """Compute in float64."""

    def check_loss(self, outputs: Any, targets: Tree) -> None:
        """Look at the loss of the first examples, for what is worth a word."""
