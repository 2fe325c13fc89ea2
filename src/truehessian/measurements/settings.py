"""What measurements have to be told, as a configuration or anything else may say it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from truehessian.operators.mean import BatchNormMode


class Products(Protocol):
    """How products are made, as a configuration says; see `operators.NetworkOperator`."""

    @property
    def chunk_size(self) -> int:
        """Examples per forward pass."""

    @property
    def precision(self) -> str:
        """`float32`, `tf32` or `float64`."""

    @property
    def batchnorm(self) -> BatchNormMode:
        """`eval` or `train`."""

    @property
    def memory_gb(self) -> float | None:
        """Gigabytes for graphs kept between products, None for a share of what is free."""

    @property
    def basis_gb(self) -> float | None:
        """Gigabytes for Lanczos bases on the device, None for half of what is free."""

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda` or `cuda:1`."""

    @property
    def parameters(self) -> Sequence[str] | None:
        """Patterns of names to which matrices are restricted, or `trainable`; None for all."""

    @property
    def weight_decay(self) -> float:
        """What matrices of second derivatives have of the identity, 0 for the loss alone."""

    @property
    def loss(self) -> str | Mapping[str, Any]:
        """One of `networks.losses.LOSSES` or an import path; or `name` with arguments."""
