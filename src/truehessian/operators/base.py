"""What every operator can do: products with vectors and blocks, algebra, SciPy's interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import scipy.sparse.linalg
import torch
from torch import Tensor


class Operator(ABC):
    """A symmetric matrix of order P that is known by its products with blocks of vectors.

    Attributes
    ----------
    num_params
        The order P.
    dtype, device
        Of the vectors that it multiplies with.
    semidefinite
        Whether no eigenvalue is negative, so that the smallest ones say nothing.
    takes_weight_decay
        Whether there is a penalty on the weights beside the loss, for which it takes a number.
    """

    semidefinite = False
    takes_weight_decay = False

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

    def unwatched(self) -> AbstractContextManager[None]:
        """Leave it to the caller to see that a product is not finite, and wait for no GPU.

        Inside this context a product that holds NaN or infinity may be given. Where the caller
        raises FloatingPointError for it, the operator's own sentence takes its place.
        """
        return nullcontext()

    def traits(self) -> list[str]:
        """Say what tells the operator apart, in a few words each; nothing is computed for it."""
        return [f"P={self.num_params:,}", str(self.dtype).removeprefix("torch."), str(self.device)]

    def __repr__(self) -> str:
        """Say what the operator is: its kind and its traits."""
        return f"{type(self).__name__}({', '.join(self.traits())})"

    def matvec(self, vector: Tensor) -> Tensor:
        """Multiply with one vector of shape (P,); the product is float64."""
        return (self @ vector).double()

    def __matmul__(self, other: Tensor) -> Tensor:
        """Multiply with a vector (P,) or a matrix (P, k), in any real dtype.

        Raises
        ------
        TypeError
            `other` is not a tensor of real numbers.
        ValueError
            The first axis of `other` is not P long, or it has more than two axes.
        """
        if not isinstance(other, Tensor) or other.is_complex():
            kind = f"complex tensor ({other.dtype})" if isinstance(other, Tensor) else type(other)
            raise TypeError(
                f"expected a real torch.Tensor, got {getattr(kind, '__name__', kind)}; "
                "torch.as_tensor makes one of an array, and to_scipy() an operator for arrays"
            )
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


class LinearCombination(Operator):
    """sum_i c_i A_i of operators of one order, precision and device.

    Parameters
    ----------
    terms
        Pairs (c_i, A_i), at least one.

    Raises
    ------
    ValueError
        There is no term, or the terms differ in order, dtype or device.
    """

    def __init__(self, terms: Sequence[tuple[float, Operator]]) -> None:
        if not terms:
            raise ValueError("a linear combination needs at least one term, got none")
        first = terms[0][1]
        for _, operator in terms:
            for name in ("shape", "dtype", "device"):
                if getattr(operator, name) != getattr(first, name):
                    raise ValueError(
                        f"operators differ in {name}: {getattr(first, name)} and "
                        f"{getattr(operator, name)}"
                    )
        super().__init__(first.num_params, first.dtype, first.device)
        self.terms = list(terms)

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P); float64."""
        total = torch.zeros(block.shape, dtype=torch.float64, device=self.device)
        for factor, operator in self.terms:
            total.add_(operator.matmat(block), alpha=factor)
        return total

    def traits(self) -> list[str]:
        """List the terms with their factors."""
        return [f"{factor:+g} {operator!r}" for factor, operator in self.terms]

    def describe(self) -> dict[str, Any]:
        """List the terms with their factors."""
        return {
            "operator": "linear combination",
            "num_parameters": self.num_params,
            "terms": [{"factor": factor, **operator.describe()} for factor, operator in self.terms],
        }

    def __mul__(self, factor: float) -> LinearCombination:
        """Multiply by a number."""
        return LinearCombination([(factor * own, operator) for own, operator in self.terms])

    __rmul__ = __mul__

    def __add__(self, other: Operator) -> LinearCombination:
        """Add another operator; a linear combination is taken apart into its terms."""
        terms = other.terms if isinstance(other, LinearCombination) else [(1.0, other)]
        return LinearCombination([*self.terms, *terms])
