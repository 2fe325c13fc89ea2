"""What every operator can do: products with vectors and blocks, algebra, SciPy's interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import scipy.sparse.linalg
import torch
from torch import Tensor

if TYPE_CHECKING:
    from truehessian.operators.algebra import LinearCombination


class Operator(ABC):
    """A symmetric matrix of order P that is known by its products with blocks of vectors."""

    def __init__(self, num_params: int, dtype: torch.dtype, device: torch.device) -> None:
        self.num_params = num_params
        self.dtype = dtype
        self.device = device

    @property
    def shape(self) -> tuple[int, int]:
        """(P, P)."""
        return (self.num_params, self.num_params)

    @abstractmethod
    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors at once.

        Parameters
        ----------
        block
            Vectors as rows, shape (k, P), in the operator's dtype and on its device.

        Returns
        -------
        Tensor
            Products as rows, shape (k, P), float64.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Say what the matrix is, in values that JSON can hold."""

    def matvec(self, vector: Tensor) -> Tensor:
        """Multiply with one vector of shape (P,); the product is float64."""
        return (self @ vector).double()

    def __matmul__(self, other: Tensor) -> Tensor:
        """Multiply with a vector (P,) or a matrix (P, k), in any real dtype.

        Raises
        ------
        ValueError
            The first axis of `other` is not P long, or it has more than two axes.
        """
        if other.ndim not in (1, 2) or other.shape[0] != self.num_params:
            raise ValueError(
                f"expected a vector ({self.num_params},) or a matrix ({self.num_params}, k), "
                f"got shape {tuple(other.shape)}"
            )
        rows = other.unsqueeze(0) if other.ndim == 1 else other.T
        product = self.matmat(rows.to(device=self.device, dtype=self.dtype).contiguous())
        return product[0] if other.ndim == 1 else product.T

    def to_scipy(self) -> scipy.sparse.linalg.LinearOperator:
        """Wrap as a SciPy linear operator on float64 NumPy arrays.

        SciPy's own `eigsh` then works on it; the products keep the operator's precision.
        """

        def product(array: Any) -> Any:
            return (self @ torch.from_numpy(array.copy())).cpu().numpy()

        return scipy.sparse.linalg.LinearOperator(
            self.shape,
            matvec=lambda vector: product(vector.reshape(-1)),
            matmat=product,
            rmatvec=lambda vector: product(vector.reshape(-1)),
            dtype="float64",
        )

    def __mul__(self, factor: float) -> LinearCombination:
        """Multiply by a number."""
        from truehessian.operators.algebra import LinearCombination

        return LinearCombination([(float(factor), self)])

    __rmul__ = __mul__

    def __add__(self, other: Operator) -> LinearCombination:
        """Add another operator of the same order."""
        return self * 1.0 + other

    def __sub__(self, other: Operator) -> LinearCombination:
        """Subtract another operator of the same order."""
        return self + other * -1.0

    def __neg__(self) -> LinearCombination:
        """Change the sign."""
        return self * -1.0
