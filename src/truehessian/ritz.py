"""What a tridiagonalisation tells: Ritz values with weights and residuals, and Ritz vectors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.gram_schmidt import raised


class Tridiagonalisation(NamedTuple):
    """The result of m Lanczos steps, A Q = Q J + beta_m q_{m+1} e_mᵀ.

    Attributes
    ----------
    diagonal
        Diagonal of the Jacobi matrix J, shape (m,), float64.
    off_diagonal
        Its off-diagonal, shape (m - 1,), float64.
    last_off_diagonal
        beta_m, the norm of what is left after the last step; zero when the Krylov space is
        exhausted, that is, when every Ritz value is an eigenvalue.
    basis
        The vectors q_1 .. q_m as rows, shape (m, P), in the precision of the products; on a device,
        in host memory or in a file, see `placement.place_of`.
    """

    diagonal: NDArray
    off_diagonal: NDArray
    last_off_diagonal: float
    basis: Tensor

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
        Gauss quadrature weights: squared first components, shape (m,), sum 1.
    residuals
        ``|beta_m s_m|``, the distance from each Ritz value to an eigenvalue at most, shape (m,).
    coefficients
        Ritz vectors in the Lanczos basis, one per column, shape (m, m).
    """

    values: NDArray
    weights: NDArray
    residuals: NDArray
    coefficients: NDArray


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
        np.abs(run.last_off_diagonal * coefficients[-1]),
        coefficients,
    )


def relative_errors(result: Ritz) -> dict[str, float]:
    """Estimate the relative errors of the extreme Ritz values.

    A residual r bounds the error by r, and by r² / gap with the gap to the rest of the spectrum.
    The next Ritz value stands for that rest, which is trusted once r is below a tenth of the Ritz
    value and below the gap.

    Returns
    -------
    dict
        For `largest` and `smallest`; infinite where there is no second Ritz value.

    References
    ----------
    Parlett (1998), The Symmetric Eigenvalue Problem, Theorem 11.7.1.
    """
    errors = {}
    for end, (own, other) in {"largest": (-1, -2), "smallest": (0, 1)}.items():
        if len(result.values) < 2 or result.values[own] == 0:
            errors[end] = 0.0 if result.residuals[own] == 0 else float("inf")
            continue
        residual = result.residuals[own]
        gap = abs(result.values[own] - result.values[other])
        settled = residual < min(gap, 0.1 * abs(result.values[own]))
        bound = residual**2 / gap if settled else residual
        errors[end] = float(bound / abs(result.values[own]))
    return errors


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
