"""Curvature along gradients: of batches along their own, of others along these, of all the data."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas import DataFrame
from torch import Tensor

from truehessian.operators import NetworkOperator
from truehessian.operators.fisher import mean_gradient
from truehessian.operators.folds import Folds
from truehessian.theory import stability
from truehessian.theory.stability import Limits, Mean

# Columns of means over batches, and where they come from.
_MEANS = {
    "sharpness": "batch_sharpness",
    "ratio_of_means": "ratio_of_means",
    "interaction_aware": "interaction_aware",
    "share_inside": "share_inside",
}
COLUMNS = (
    *("batch_size", "batches"),
    *(f"{column}{part}" for column in _MEANS for part in ("", "_standard_error")),
    *("gradient_norm", "dimension", "chance", "largest"),
    *("learning_rate", "momentum", "limit", "limit_small_batches", "limit_large_batches"),
    *("preconditioned", "preconditioned_residual", "preconditioned_limit"),
)


class AlongGradients(NamedTuple):
    """What batches show along their gradients g_f, one number of each; arrays of shape (F,).

    Attributes
    ----------
    squared_norms
        |g_f|².
    own
        g_fᵀ A_f g_f with the batch's own matrix.
    across
        g_fᵀ A_f' g_f with the matrix of another batch, independent of it; NaN without others.
    inside
        Squared length of g_f within a subspace; NaN without one.
    """

    squared_norms: NDArray
    own: NDArray
    across: NDArray
    inside: NDArray

    @property
    def batch_sharpness(self) -> Mean:
        """Mean of g_fᵀ A_f g_f / |g_f|² over the batches whose gradient does not vanish."""
        some = self.squared_norms > 0
        if not some.any():
            return Mean(np.nan, np.nan)
        return stability.mean(self.own[some] / self.squared_norms[some])

    @property
    def ratio_of_means(self) -> Mean:
        """Mean of g_fᵀ A_f g_f over that of |g_f|²: batches with large gradients count more."""
        return stability.ratio_of_means(self.own, self.squared_norms)

    @property
    def interaction_aware(self) -> Mean:
        """Mean of gᵀ A g over that of |g|² with the matrix A of all the data, Tr(A S) / Tr S.

        S is the second moment of the batches' gradients. The matrix of a batch that is drawn
        independently of the gradient stands for A, whose mean it is.
        """
        return stability.ratio_of_means(self.across, self.squared_norms)

    @property
    def share_inside(self) -> Mean:
        """Mean share of a gradient's square within the subspace."""
        some = self.squared_norms > 0
        if not some.any():
            return Mean(np.nan, np.nan)
        return stability.mean(self.inside[some] / self.squared_norms[some])


def gradient(operator: NetworkOperator) -> Tensor:
    """Gradient of what an operator is the curvature of, with its penalty on the weights.

    Returns
    -------
    Tensor
        Shape (P,), float64, on the operator's device: one pass over its examples.
    """
    found = mean_gradient(operator)
    if operator.weight_decay:
        weights = torch.cat([leaf.detach().reshape(-1) for leaf in operator.network.leaves])
        found = found + operator.weight_decay * weights.double()
    return found


def along_gradients(
    operator: NetworkOperator,
    batches: Sequence[object],
    others: Sequence[object] = (),
    *,
    onto: Tensor | None = None,
) -> AlongGradients:
    """Measure the curvature of batches along gradients, in one graph where that pays.

    Parameters
    ----------
    operator
        Gives network, loss and settings; its own data do not matter.
    batches
        Examples of each batch, drawn as those that training steps along.
    others
        As many further batches, drawn independently, whose matrices are multiplied with these
        gradients; none by default.
    onto
        Orthonormal vectors as rows, shape (k, P), that gradients are projected on.

    Raises
    ------
    ValueError
        There is no batch, or the others are not as many.
    """
    if others and len(others) != len(batches):
        raise ValueError(f"expected as many others as batches, {len(batches)}, got {len(others)}")
    folds = Folds(operator, [*batches, *others])
    count, of_batches = len(batches), folds.operators
    gradients: list[Any] = [gradient(own) for own in of_batches[:count]]  # type: ignore[arg-type]
    quotients = np.full(2 * count, np.nan)
    for group in folds.groups():
        vectors = {number: gradients[number % count] for number in group.numbers}
        products = group.products(vectors)
        group.free()
        for number, product in zip(group.numbers, products, strict=True):
            quotients[number] = float(product @ vectors[number])
    norms = np.array([float(own @ own) for own in gradients])
    inside = np.full(count, np.nan)
    if onto is not None:
        inside = np.array([_inside(own, onto) for own in gradients])
    return AlongGradients(norms, quotients[:count], quotients[count:], inside)


def along_gradient(operator: NetworkOperator, *, onto: Tensor | None = None) -> AlongGradients:
    """Measure the curvature of all the data along their gradient: a single batch, with no others.

    Parameters
    ----------
    operator
        The matrix, of one product.
    onto
        As of `along_gradients`.
    """
    own = gradient(operator)
    quotient = float(operator.matvec(own) @ own)
    inside = np.nan if onto is None else _inside(own, onto)
    arrays = ([float(own @ own)], [quotient], [np.nan], [inside])
    return AlongGradients(*map(np.array, arrays))


def _inside(vector: Tensor, onto: Tensor) -> float:
    return float((onto.to(vector.device, torch.float64) @ vector).square().sum())


def table(measured: Mapping[int | None, AlongGradients], facts: Mapping[str, float]) -> DataFrame:
    """Put what batches of several sizes show in a table.

    Parameters
    ----------
    measured
        By the number of examples per batch; None for all the data.
    facts
        Columns that are the same in all rows, such as `limits` and `largest`.

    Returns
    -------
    DataFrame
        One row per size with the columns of `COLUMNS`; of all the data first, without a size.
    """
    rows = []
    for size, found in measured.items():
        row: dict[str, Any] = {"batch_size": size, "batches": len(found.own)}
        for column, name in _MEANS.items():
            value, error = getattr(found, name)
            row |= {column: value, f"{column}_standard_error": error}
        row["gradient_norm"] = float(found.squared_norms.mean()) ** 0.5
        rows.append(row | dict(facts))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"batch_size": "Int64"})


def facts_of_steps(learning_rate: float | None, momentum: float | None) -> dict[str, float]:
    """Name rate, momentum and limits as columns of a table; NaN where they are not known."""
    rate = np.nan if learning_rate is None else learning_rate
    beta = 0.0 if momentum is None else momentum
    found = Limits(np.nan, np.nan, np.nan)
    if learning_rate is not None:
        found = stability.limits(learning_rate, beta)
    columns = {"limit": found.plain, "limit_small_batches": found.small_batches}
    columns["limit_large_batches"] = found.large_batches
    return {"learning_rate": rate, "momentum": beta, **columns}
