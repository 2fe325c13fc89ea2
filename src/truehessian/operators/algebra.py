"""Sums and multiples of operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from truehessian.operators.base import Operator


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
        total = torch.zeros(block.shape, dtype=torch.float64, device=block.device)
        for factor, operator in self.terms:
            total += factor * operator.matmat(block)
        return total

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
