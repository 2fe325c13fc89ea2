"""A curvature matrix in the geometry of an optimiser that scales each parameter by itself."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from truehessian.operators.base import Operator


class Preconditioned(Operator):
    """P^(-1/2) A P^(-1/2) with a diagonal P, whose eigenvalues are those of P^(-1) A.

    Parameters
    ----------
    operator
        The matrix A.
    preconditioner
        The diagonal of P, shape (order of A,), positive.

    Raises
    ------
    ValueError
        The diagonal has another length, or an element is not positive or not finite.
    """

    def __init__(self, operator: Operator, preconditioner: Tensor) -> None:
        if preconditioner.shape != (operator.num_params,):
            raise ValueError(
                f"the preconditioner must be a vector of length {operator.num_params:,}, got shape "
                f"{tuple(preconditioner.shape)}"
            )
        if not bool(((preconditioner > 0) & preconditioner.isfinite()).all()):
            raise ValueError("the preconditioner must be positive and finite")
        super().__init__(operator.num_params, operator.dtype, operator.device)
        self.operator, self.semidefinite = operator, operator.semidefinite
        self._scale = preconditioner.to(operator.device, torch.float64).rsqrt()

    def matmat(self, block: Tensor) -> Tensor:
        """Multiply with k vectors as rows (k, P); float64."""
        scaled = block.to(self.device).double() * self._scale
        return self.operator.matmat(scaled.to(self.dtype)) * self._scale

    def unwatched(self) -> AbstractContextManager[None]:
        """As of the matrix within."""
        return self.operator.unwatched()

    def traits(self) -> list[str]:
        """As of the matrix within."""
        return self.operator.traits()

    def describe(self) -> dict[str, Any]:
        """As of the matrix within, under another name."""
        own = self.operator.describe()
        return {**own, "operator": f"preconditioned {own['operator']}"}
