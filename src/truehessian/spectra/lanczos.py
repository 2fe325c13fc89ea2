"""Lanczos tridiagonalisation of a symmetric matrix that is known by its products with vectors only.

The recurrence runs in float64 whatever the precision of the products, with full
reorthogonalisation, done twice. Nothing here knows where the matrix comes from.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from truehessian import streams
from truehessian.spectra import bases as placement
from truehessian.spectra.recurrence import Journal, Recurrence, another_matrix
from truehessian.spectra.ritz import (
    Ritz,
    Tridiagonalisation,
    converged,
    orthogonality,
    relative_errors,
    ritz,
    ritz_vectors,
)

__all__ = [
    "Ritz",
    "Tridiagonalisation",
    "orthogonality",
    "probe_vector",
    "relative_errors",
    "ritz",
    "ritz_vectors",
    "tridiagonalise",
    "tridiagonalise_block",
]

logger = logging.getLogger(__name__)

# Whether the wanted ends have converged is looked at every so many steps.
_CHECK_EVERY = 4
# A product that is made again may differ by this part, where another machine rounds otherwise.
SAME = 0.01


def probe_vector(num_params: int, seed: int, *numbers: int, purpose: str = "spectrum") -> Tensor:
    """Draw a standard normal vector that depends on nothing but its arguments.

    Drawn on the CPU in float64, so that every device and precision starts from the same vector.

    Parameters
    ----------
    num_params
        P.
    seed, purpose, *numbers
        Of the stream of random numbers, see `streams.generator`; the last of the numbers is that
        of the probe as a rule. None is not the same as zero.

    Returns
    -------
    Tensor
        Shape (P,), float64, E[v vᵀ] = I.
    """
    generator = streams.generator(seed, f"probe: {purpose}", *numbers)
    return torch.from_numpy(generator.standard_normal(num_params))


def tridiagonalise(
    matvec: Callable[[Tensor], Tensor],
    start: Tensor,
    num_steps: int,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    tolerance: float | None = None,
    ends: Collection[str] = ("largest", "smallest"),
    ranks: int = 1,
    journal: Journal | None = None,
    basis_memory: int | None = None,
    scratch: Path | None = None,
) -> Tridiagonalisation:
    """Run m steps of the Lanczos recurrence with full reorthogonalisation, twice at every step.

    Parameters
    ----------
    matvec
        v -> A v for a symmetric A of order P; takes and returns vectors of shape (P,).
    start
        Start vector, shape (P,); need not be normalised.
    journal
        Where to note the state from time to time, and to go on from what is noted there; the
        result has the same bits as that of an undisturbed run.
    num_steps, dtype, device, tolerance, ends, ranks, basis_memory, scratch
        As in `tridiagonalise_block`, which also says what is raised.

    Returns
    -------
    Tridiagonalisation
        With m or fewer steps. The basis takes m P numbers.
    """
    (run,) = tridiagonalise_block(
        lambda block: matvec(block[0]).unsqueeze(0),
        [start],
        num_steps,
        dtype=dtype,
        device=device,
        tolerance=tolerance,
        ends=ends,
        ranks=ranks,
        journals=None if journal is None else [journal],
        basis_memory=basis_memory,
        scratch=scratch,
    )
    return run


def tridiagonalise_block(
    matmat: Callable[[Tensor], Tensor],
    starts: Sequence[Tensor] | Tensor,
    num_steps: int,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    tolerance: float | None = None,
    ends: Collection[str] = ("largest", "smallest"),
    ranks: int = 1,
    journals: Sequence[Journal] | None = None,
    basis_memory: int | None = None,
    scratch: Path | None = None,
) -> list[Tridiagonalisation]:
    """Run k independent Lanczos recurrences in lockstep, so that they share passes over the data.

    This is not block Lanczos: every recurrence sees its own Krylov space only, stops by itself,
    and has the bits of a run of its own where `matmat` multiplies row by row.

    Parameters
    ----------
    matmat
        Products of a symmetric A of order P with vectors as rows, (j, P) -> (j, P); called once
        per step with those j recurrences that are not finished, in the order of `starts`.
    starts
        Start vectors, k of shape (P,); need not be normalised.
    num_steps
        Number m of products per start. Where the Krylov space is exhausted before, the recurrence
        goes on from a random vector that is orthogonal to it.
    dtype
        Precision in which `matmat` is called and the bases are kept; that of `starts` by default.
    device
        Where `matmat` is called; that of `starts` by default.
    tolerance
        Stop as soon as the outermost Ritz values are estimated to be known to this part of the
        extreme one, or to the precision of the products; see `ritz.converged`. By default all
        steps are done.
    ends
        Which extremes `tolerance` is about, of `largest` and `smallest`.
    ranks
        How many Ritz values of each end it is about.
    journals
        One per start: where to note the state from time to time, and to go on from what is noted
        there, wherever each had come to.
    basis_memory
        Bytes that the bases may take on the device, k m P numbers altogether; half of what is free
        by default. Larger ones lie in host memory, or where that has not enough in files, and the
        recurrences run there; the place is logged beforehand. Memory and files give the same bits,
        a GPU and its host the same results to rounding.
    scratch
        Folder for such files, on a disk; see `bases.allocate`.

    Returns
    -------
    list of Tridiagonalisation
        One per start, with m or fewer steps.

    Raises
    ------
    ValueError
        `num_steps` is not in 1 .. P, there is no start, one is zero or not finite, there is not
        one journal per start, a journal belongs to another matrix or start, or `matmat` changes
        the shape.
    MemoryError
        The bases fit nowhere.
    FloatingPointError
        A product holds NaN or infinity.

    References
    ----------
    Golub & Van Loan (2013), Matrix Computations, Sec. 10.3.
    Giraud et al. (2005), Numer. Math. 101, 87-100: classical Gram-Schmidt twice is enough.
    """
    if not len(starts):
        raise ValueError("starts must hold at least one vector, got none")
    if journals is not None and len(journals) != len(starts):
        raise ValueError(f"expected one journal per start, got {len(journals)} for {len(starts)}")
    device = torch.device(device or starts[0].device)
    units = [_unit(start, num_steps) for start in starts]
    shape = (len(units), num_steps, len(units[0]))
    bases = placement.allocate(shape, dtype or starts[0].dtype, device, basis_memory, scratch)
    recurrences = [Recurrence(unit, basis) for unit, basis in zip(units, bases, strict=True)]
    kept = [] if journals is None else list(zip(journals, recurrences, strict=True))
    for journal, recurrence in kept:
        journal.resume(recurrence)
    _check_resumed(kept, matmat, device)
    active = recurrences
    while active := [
        recurrence
        for recurrence in active
        if recurrence.steps < num_steps and not _finished(recurrence, tolerance, ends, ranks)
    ]:
        _advance(active, matmat, device)
        for journal, recurrence in kept:
            journal.record(recurrence)
    for journal, recurrence in kept:
        journal.record(recurrence)
    return [_so_far(recurrence) for recurrence in recurrences]


def _check_resumed(
    kept: Sequence[tuple[Journal, Recurrence]],
    matmat: Callable[[Tensor], Tensor],
    device: torch.device,
) -> None:
    """Compare the first step of what is gone on from with a fresh product, to rounding."""
    resumed = [(journal, recurrence) for journal, recurrence in kept if recurrence.steps]
    if not resumed:
        return
    products = matmat(torch.stack([r.basis[0] for _, r in resumed]).to(device))
    for (journal, recurrence), product in zip(resumed, products, strict=True):
        second = recurrence.basis[1] if recurrence.steps > 1 else recurrence.current
        image = product.to(device=second.device, dtype=torch.float64, copy=True)
        size = image.norm().item()
        image.sub_(recurrence.basis[0].double(), alpha=recurrence.diagonal[0])
        image.sub_(second.double(), alpha=recurrence.off_diagonal[0])
        if not image.norm().item() <= SAME * size + recurrence.product_error:
            raise ValueError(another_matrix(journal.folder))


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


def _advance(
    recurrences: Sequence[Recurrence], matmat: Callable[[Tensor], Tensor], device: torch.device
) -> None:
    """Do one step of each: one product with all their vectors, orthogonalised one by one."""
    for recurrence in recurrences:
        recurrence.basis[recurrence.steps] = recurrence.current.to(recurrence.basis.dtype)
    block = torch.stack([r.basis[r.steps] for r in recurrences]).to(device)
    products = matmat(block)
    if products.shape != block.shape:
        raise ValueError(
            f"products must have the shape of the vectors, {tuple(block.shape)}, "
            f"got {tuple(products.shape)}"
        )
    for recurrence, product in zip(recurrences, products, strict=True):
        if not bool(torch.isfinite(product).all()):
            raise FloatingPointError(
                f"the product of step {recurrence.steps + 1} holds NaN or infinity"
            )
        recurrence.absorb(product)


def _finished(
    recurrence: Recurrence, tolerance: float | None, ends: Collection[str], ranks: int
) -> bool:
    """Whether the wanted ends have converged."""
    steps = recurrence.steps
    if tolerance is None or steps == 0 or steps % _CHECK_EVERY:
        return False
    result = ritz(_so_far(recurrence))
    if not all(converged(result, end, ranks, tolerance) for end in ends):
        return False
    logger.info("%s converged after %d steps", " and ".join(ends), steps)
    return True


def _so_far(recurrence: Recurrence) -> Tridiagonalisation:
    return Tridiagonalisation(
        np.array(recurrence.diagonal),
        np.array(recurrence.off_diagonal[:-1]),
        recurrence.left,
        recurrence.basis[: recurrence.steps],
        recurrence.product_error,
    )
