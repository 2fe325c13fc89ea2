"""What a tridiagonalisation tells: Ritz values with weights and residuals, and Ritz vectors."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.spectra.orthogonalise import raised
from truehessian.spectra.separation import SEPARATE


class Tridiagonalisation(NamedTuple):
    """The result of m Lanczos steps, A Q = Q J + beta_m q_{m+1} e_mᵀ + rounding.

    Attributes
    ----------
    diagonal
        Diagonal of the Jacobi matrix J, shape (m,), float64.
    off_diagonal
        Its off-diagonal, shape (m - 1,), float64; zero where the Krylov space was exhausted and
        the recurrence went on from a random vector.
    last_off_diagonal
        beta_m, the norm of what is left after the last step, rounding included.
    basis
        The vectors q_1 .. q_m as rows, shape (m, P), in the precision of the products; on a device,
        in host memory or in a file, see `bases.place_of`.
    product_error
        Norm of the error of a product with a unit vector, as far as the run shows it; see
        `Recurrence.product_error`.
    """

    diagonal: NDArray
    off_diagonal: NDArray
    last_off_diagonal: float
    basis: Tensor
    product_error: float = 0.0

    @property
    def num_steps(self) -> int:
        """Number m of steps that were done."""
        return len(self.diagonal)


class Ritz(NamedTuple):
    """Eigendecomposition of a Jacobi matrix: Ritz values and what belongs to them.

    Attributes
    ----------
    values
        Ritz values, ascending, shape (m,).
    weights
        Gauss quadrature weights: squared first components, shape (m,), sum 1. Zero on what was
        found after the Krylov space was exhausted.
    residuals
        ``|beta_m s_m| + product_error``, the distance from each Ritz value to an eigenvalue at
        most, never below the precision of the products, shape (m,).
    coefficients
        Ritz vectors in the Lanczos basis, one per column, shape (m, m).
    product_error
        As in `Tridiagonalisation`.
    """

    values: NDArray
    weights: NDArray
    residuals: NDArray
    coefficients: NDArray
    product_error: float = 0.0

    @property
    def unconverged(self) -> NDArray:
        """The part of the residuals that more steps could remove, shape (m,)."""
        return self.residuals - self.product_error


def ritz(run: Tridiagonalisation) -> Ritz:
    """Diagonalise the Jacobi matrix of a run, in float64 on the CPU.

    References
    ----------
    Golub & Meurant (1994), Matrices, Moments and Quadrature; Parlett (1998), Theorem 13.2.1 for
    the residual bound.
    """
    values, coefficients = scipy.linalg.eigh_tridiagonal(run.diagonal, run.off_diagonal)
    return Ritz(
        values,
        coefficients[0] ** 2,
        np.abs(run.last_off_diagonal * coefficients[-1]) + run.product_error,
        coefficients,
        run.product_error,
    )


def error_bounds(result: Ritz) -> NDArray:
    """Bound what more steps could still change in each Ritz value, shape (m,).

    A residual r bounds the error by r, and by r² / gap with the gap to the rest of the spectrum.
    The next Ritz values stand for that rest, which is trusted once r is below a tenth of the Ritz
    value and below the gap.

    References
    ----------
    Parlett (1998), The Symmetric Eigenvalue Problem, Theorem 11.7.1.
    """
    residuals = result.unconverged
    gaps = _gaps(result.values)
    settled = residuals < np.minimum(gaps, 0.1 * np.abs(result.values))
    settled &= np.isfinite(gaps)
    return np.where(settled, residuals**2 / np.where(settled, gaps, 1.0), residuals)


def _gaps(values: NDArray) -> NDArray:
    """Distance from each of the ascending values to the next one; infinite for a single one."""
    steps = np.diff(values, prepend=-np.inf, append=np.inf)
    return np.minimum(steps[:-1], steps[1:])


def relative_errors(result: Ritz) -> dict[str, float]:
    """Estimate the errors of the extreme Ritz values, relative to the eigenvalues.

    The sum of `error_bounds` and the precision of the products, over the smallest magnitude that
    the eigenvalue can have.

    Returns
    -------
    dict
        For `largest` and `smallest`; infinite where not even the sign is known.
    """
    errors = {}
    for end, own in {"largest": -1, "smallest": 0}.items():
        bound = error_bounds(result)[own] + result.product_error
        least = abs(result.values[own]) - bound
        if len(result.values) == 1 and result.unconverged[own] > result.product_error:
            least = 0.0  # an eigenvalue, but which?
        errors[end] = float(bound / least) if least > 0 else (0.0 if bound == 0 else math.inf)
    return errors


def converged(result: Ritz, end: str, ranks: int, tolerance: float) -> bool:
    """Tell whether the outermost Ritz values of an end are known as well as they can be.

    Parameters
    ----------
    result
        Of the steps so far.
    end
        `largest` or `smallest`.
    ranks
        How many Ritz values; no Ritz value counts for both ends, unless there is one only.
    tolerance
        Of `error_bounds`, relative to the extreme Ritz value of this end. Residuals also have to be
        small beside the gaps, so that no two eigenvalues are taken for one. More than the precision
        of the products is not asked for, nor more than single precision has.
    """
    if len(result.values) < max(2 * ranks, 2):
        return False
    order = slice(None, ranks) if end == "smallest" else slice(-1, -ranks - 1, -1)
    # The precision that was measured may be too pessimistic to be a reason to stop.
    floor = min(result.product_error, 2.0**-23 * np.abs(result.values).max())
    wanted = max(tolerance * abs(result.values[order][0]), floor)
    apart = np.maximum(SEPARATE * _gaps(result.values), floor)
    known = (error_bounds(result) <= wanted) & (result.unconverged <= apart)
    return bool(known[order].all())


def ritz_vectors(run: Tridiagonalisation, columns: Sequence[int]) -> Tensor:
    """Assemble Ritz vectors from the basis.

    Parameters
    ----------
    run
        A finished tridiagonalisation.
    columns
        Which Ritz values, as indices into the ascending order (negative from the top).

    Returns
    -------
    Tensor
        Unit vectors as rows, shape (len(columns), P), float64, on the device of the basis.
    """
    wanted = torch.from_numpy(np.ascontiguousarray(ritz(run).coefficients[:, columns].T))
    wanted = wanted.to(run.basis.device)
    vectors = torch.empty(
        len(columns), run.basis.shape[1], dtype=torch.float64, device=run.basis.device
    )
    for slab, rows in raised(run.basis):
        vectors[:, slab] = wanted @ rows
    return torch.nn.functional.normalize(vectors, dim=1)


def orthogonality(run: Tridiagonalisation) -> float:
    """Measure max |Q Qᵀ - I|, the loss of orthogonality of the basis."""
    basis = run.basis
    gram = torch.zeros(len(basis), len(basis), dtype=torch.float64, device=basis.device)
    for _, rows in raised(basis):
        gram.addmm_(rows, rows.T)
    gram -= torch.eye(len(basis), dtype=torch.float64, device=basis.device)
    return gram.abs().max().item()
