"""Lanczos tridiagonalisation of a symmetric matrix that is known by its products with vectors only.

The recurrence runs in float64 whatever the precision of the products, with full
reorthogonalisation, done twice. Nothing here knows where the matrix comes from.
"""

import logging
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.recurrence import Journal, Recurrence

logger = logging.getLogger(__name__)

# Whether the wanted ends have converged is looked at every so many steps.
_CHECK_EVERY = 4

# Columns of the basis that are raised to float64 at a time: the working copy stays in the cache
# and a float32 basis of gigabytes is never duplicated.
_SLAB = 1 << 16


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
        The vectors q_1 .. q_m as rows, shape (m, P), in the precision of the products.
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


def probe_vector(num_params: int, seed: int, probe: int = 0) -> Tensor:
    """Draw a standard normal start vector that depends on nothing but its arguments.

    Drawn on the CPU in float64, so that every device and precision starts from the same vector.

    Returns
    -------
    Tensor
        Shape (P,), float64, E[v vᵀ] = I.
    """
    generator = torch.Generator().manual_seed(_mix(seed, probe))
    return torch.randn(num_params, generator=generator, dtype=torch.float64)


def tridiagonalise(
    matvec: Callable[[Tensor], Tensor],
    start: Tensor,
    num_steps: int,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    tolerance: float | None = None,
    ends: Collection[str] = ("largest", "smallest"),
    journal: Journal | None = None,
) -> Tridiagonalisation:
    """Run m steps of the Lanczos recurrence with full reorthogonalisation, twice at every step.

    Parameters
    ----------
    matvec
        v -> A v for a symmetric A of order P; takes and returns vectors of shape (P,).
    start
        Start vector, shape (P,); need not be normalised.
    num_steps
        Number m of products. Fewer are done when the Krylov space is exhausted.
    dtype
        Precision in which `matvec` is called and the basis is kept; that of `start` by default.
    device
        Where the recurrence runs and the basis lies; that of `start` by default.
    tolerance
        Stop as soon as the relative error of the extreme Ritz values is estimated to be below; see
        `relative_errors`. By default all steps are done.
    ends
        Which extremes `tolerance` is about, of `largest` and `smallest`.
    journal
        Where to note the state from time to time, and to go on from what is noted there; the
        result has the same bits as that of an undisturbed run.

    Returns
    -------
    Tridiagonalisation
        With m or fewer steps. The basis takes m P numbers.

    Raises
    ------
    ValueError
        `num_steps` is not in 1 .. P, or `start` is zero or not finite.
    FloatingPointError
        A product holds NaN or infinity.

    References
    ----------
    Golub & Van Loan (2013), Matrix Computations, Sec. 10.3.
    Giraud et al. (2005), Numer. Math. 101, 87-100: classical Gram-Schmidt twice is enough.
    """
    device = torch.device(device or start.device)
    recurrence = Recurrence(_unit(start, num_steps).to(device), num_steps, dtype or start.dtype)
    if journal is not None:
        journal.resume(recurrence)
    while recurrence.steps < num_steps and not _finished(recurrence, tolerance, ends):
        _advance(recurrence, matvec)
        if journal is not None:
            journal.record(recurrence)
    if journal is not None:
        journal.record(recurrence)
    return _so_far(recurrence)


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


def ritz_vectors(run: Tridiagonalisation, columns: list[int]) -> Tensor:
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
    for slab in _slabs(run.basis.shape[1]):
        vectors[:, slab] = wanted @ run.basis[:, slab].double()
    return torch.nn.functional.normalize(vectors, dim=1)


def orthogonality(run: Tridiagonalisation) -> float:
    """Measure max |Q Qᵀ - I|, the loss of orthogonality of the basis."""
    basis = run.basis
    gram = torch.zeros(len(basis), len(basis), dtype=torch.float64, device=basis.device)
    for slab in _slabs(basis.shape[1]):
        part = basis[:, slab].double()
        gram += part @ part.T
    gram -= torch.eye(len(basis), dtype=torch.float64, device=basis.device)
    return gram.abs().max().item()


def _unit(start: Tensor, num_steps: int) -> Tensor:
    num_params = start.numel()
    if not 1 <= num_steps <= num_params:
        raise ValueError(
            f"num_steps must be in 1 .. {num_params}, the order of the matrix, got {num_steps}"
        )
    norm = start.double().norm().item()
    if not 0 < norm < float("inf"):
        raise ValueError(f"start must be a finite vector other than zero, its norm is {norm}")
    return start.double() / norm


def _advance(recurrence: Recurrence, matvec: Callable[[Tensor], Tensor]) -> None:
    """Do one step: one product, orthogonalised against all basis vectors."""
    step, basis = recurrence.steps, recurrence.basis
    basis[step] = recurrence.current.to(basis.dtype)
    product = _checked(matvec(basis[step]), step)
    # A copy always: what comes back may be the very vector that went in.
    image = product.to(device=basis.device, dtype=torch.float64, copy=True)
    recurrence.largest = max(recurrence.largest, image.norm().item())
    recurrence.diagonal.append(_orthogonalise(image, basis[: step + 1]))
    norm = image.norm().item()
    if norm <= _breakdown(recurrence.largest, basis.dtype):
        logger.info("the Krylov space is exhausted after %d steps", step + 1)
        norm = 0.0
    recurrence.off_diagonal.append(norm)
    if norm:
        recurrence.current = image / norm


def _finished(recurrence: Recurrence, tolerance: float | None, ends: Collection[str]) -> bool:
    """Whether the Krylov space is exhausted, or the wanted ends have converged."""
    steps = recurrence.steps
    if steps and recurrence.off_diagonal[-1] == 0:
        return True
    if tolerance is None or steps == 0 or steps % _CHECK_EVERY:
        return False
    errors = relative_errors(ritz(_so_far(recurrence)))
    converged = all(errors[end] <= tolerance for end in ends)
    if converged:
        logger.info("%s converged after %d steps", " and ".join(ends), steps)
    return converged


def _so_far(recurrence: Recurrence) -> Tridiagonalisation:
    return Tridiagonalisation(
        np.array(recurrence.diagonal),
        np.array(recurrence.off_diagonal[:-1]),
        recurrence.off_diagonal[-1],
        recurrence.basis[: recurrence.steps],
    )


def _orthogonalise(image: Tensor, basis: Tensor) -> float:
    """Remove from `image`, in place, all components along the rows of `basis`, twice.

    Returns the component along the last row, which is the new diagonal entry.
    """
    component = 0.0
    for _ in range(2):
        overlaps = torch.zeros(len(basis), dtype=torch.float64, device=basis.device)
        for slab in _slabs(basis.shape[1]):
            overlaps += basis[:, slab].double() @ image[slab]
        for slab in _slabs(basis.shape[1]):
            image[slab] -= overlaps @ basis[:, slab].double()
        component += overlaps[-1].item()
    return component


def _breakdown(scale: float, dtype: torch.dtype) -> float:
    """Norm below which what is left of a product is rounding error and not a direction.

    Set low on purpose: to go on with a direction made of rounding error is a restart of the
    recurrence and does no harm, to stop early would lose the small end of the spectrum.
    """
    return max(10 * torch.finfo(dtype).eps, 1e-13) * scale


def _checked(product: Tensor, step: int) -> Tensor:
    if not bool(torch.isfinite(product).all()):
        raise FloatingPointError(f"the product of step {step + 1} holds NaN or infinity")
    return product


def _slabs(num_params: int) -> list[slice]:
    return [slice(begin, begin + _SLAB) for begin in range(0, num_params, _SLAB)]


def _mix(seed: int, probe: int) -> int:
    """Combine a seed and a probe's number into one 63-bit seed without collisions in practice."""
    return int(np.random.SeedSequence([seed, probe]).generate_state(1, np.uint64)[0] >> 1)
