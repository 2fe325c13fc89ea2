"""Extremal eigenvalues with their eigenvectors, to a tolerance, by one Lanczos run."""

import logging
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from truehessian import display
from truehessian.measurements.measuring import unwatched
from truehessian.operators import Operator
from truehessian.spectra import lanczos
from truehessian.spectra.lanczos import Ritz
from truehessian.spectra.ritz import converged
from truehessian.spectra.spectrum import ENDS, End

logger = logging.getLogger(__name__)

Which = Literal["largest", "smallest", "both", "magnitude"]
# Steps that are done at most unless more are asked for, or are needed for so many pairs.
_STEPS, _STEPS_PER_PAIR = 300, 6
_NOT_KNOWN = (
    "the %d eigenpairs have not converged to %.1e within %d steps; look at their residuals, and "
    "take more steps"
)


class Eigenpairs(NamedTuple):
    """Eigenvalues and eigenvectors at the ends of a spectrum, as far as they are known.

    Attributes
    ----------
    values
        Shape (n,), float64, from the outermost inwards; of `both` ends the largest come first.
    vectors
        Unit vectors as rows, shape (n, P), float64.
    residuals
        At least ``|A v - value v|``, and with it the distance to an eigenvalue; never below the
        precision of the products. Shape (n,), float64.
    converged
        Whether all are known to the tolerance that was asked for.
    steps
        Products that it took.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: bool
    steps: int

    def __repr__(self) -> str:
        """Show values and residuals, and no vector."""
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> display.Card:
        how = "converged" if self.converged else "NOT converged"
        rows = [
            [display.value(value), display.error(residual)]
            for value, residual in zip(self.values.tolist(), self.residuals.tolist(), strict=True)
        ]
        title = (
            f"Eigenpairs: {len(rows)} of P = {self.vectors.shape[1]:,}, {how} in {self.steps} steps"
        )
        return display.Card(title, ("value", "residual"), rows)


def find(
    operator: Operator,
    k: int,
    which: Which,
    *,
    tolerance: float,
    steps: int | None,
    seed: int,
    basis_memory: int | None = None,
) -> Eigenpairs:
    """Find eigenpairs by Lanczos from one random start vector.

    Parameters are those of `one_call.eigenpairs`, which says what is raised.
    """
    size = operator.num_params
    _check(k, which, size)
    if steps is None:
        steps = min(size, max(_STEPS, _STEPS_PER_PAIR * k))
    elif not k <= steps <= size:
        raise ValueError(f"steps must be in {k} .. {size}, from k to P, got {steps}")
    ends = _ends(which, operator)
    how = {"tolerance": tolerance, "ends": ends, "ranks": k, "basis_memory": basis_memory}
    run = _tridiagonalise(operator, steps, seed, **how)
    # Where the whole space is spanned, Ritz values are eigenvalues to the precision of products.
    result = lanczos.ritz(run)
    known = run.num_steps == size or all(converged(result, end, k, tolerance) for end in ends)
    if not known:
        logger.warning(_NOT_KNOWN, k, tolerance, run.num_steps)
    columns = _columns(result, k, which)
    return Eigenpairs(
        torch.from_numpy(result.values[columns].copy()),
        lanczos.ritz_vectors(run, columns).to(operator.device),
        torch.from_numpy(result.residuals[columns].copy()),
        known,
        run.num_steps,
    )


def _tridiagonalise(
    operator: Operator, steps: int, seed: int, **how: Any
) -> lanczos.Tridiagonalisation:
    with unwatched(operator):
        return lanczos.tridiagonalise(
            operator.matvec,
            lanczos.probe_vector(operator.num_params, seed, purpose="eigenpairs"),
            steps,
            dtype=operator.dtype,
            device=operator.device,
            **how,
        )


def _check(k: int, which: str, size: int) -> None:
    if which not in get_args(Which):
        raise ValueError(f"which must be one of {', '.join(get_args(Which))}, got {which!r}")
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"k must be a whole number of eigenpairs, got {type(k).__name__}")
    most = size // 2 if which == "both" else size
    if not 1 <= k <= most:
        bound = "P / 2 for both ends" if which == "both" else "P"
        raise ValueError(f"k must be in 1 .. {most}, up to {bound}, got {k}")


def _ends(which: Which, operator: Operator) -> tuple[End, ...]:
    """Which ends have to converge; a semidefinite matrix has its largest magnitudes at one."""
    if which == "largest" or (which == "magnitude" and operator.semidefinite):
        return ENDS[:1]
    return ENDS[1:] if which == "smallest" else ENDS


def _columns(result: Ritz, k: int, which: Which) -> list[int]:
    """Choose Ritz values as places in the ascending order, from the outermost inwards."""
    count = len(result.values)
    top, bottom = list(range(count - 1, -1, -1)), list(range(count))
    if which == "magnitude":
        return np.argsort(-np.abs(result.values), kind="stable")[:k].tolist()
    if which == "both":
        k = min(k, count // 2)
        return top[:k] + bottom[:k]
    return (top if which == "largest" else bottom)[:k]
