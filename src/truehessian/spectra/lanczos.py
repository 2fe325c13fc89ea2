"""Lanczos tridiagonalisation of a symmetric matrix that is known by its products with vectors only.

The recurrence runs in float64 whatever the precision of the products, with full
reorthogonalisation, by as many passes as it takes. Nothing here knows where the matrix comes from.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from truehessian import streams
from truehessian.spectra.lockstep import SAME, Multiply, tridiagonalise_each
from truehessian.spectra.recurrence import Journal
from truehessian.spectra.ritz import (
    Ritz,
    Tridiagonalisation,
    orthogonality,
    relative_errors,
    ritz,
    ritz_vectors,
)

__all__ = [
    "SAME",
    "Multiply",
    "Ritz",
    "Tridiagonalisation",
    "orthogonality",
    "probe_vector",
    "relative_errors",
    "ritz",
    "ritz_vectors",
    "tridiagonalise",
    "tridiagonalise_block",
    "tridiagonalise_each",
]


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
    """Run m steps of the Lanczos recurrence with full reorthogonalisation.

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

    This is not block Lanczos: every recurrence sees its own Krylov space only, and stops by itself.
    On a CPU it has the bits of a run of its own where `matmat` multiplies row by row. On a GPU
    those of one length are orthogonalised together, and rounding may depend on their number.

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
    Simon (1984), Linear Algebra Appl. 61, 101-131: what a step brings along earlier vectors.
    Giraud et al. (2005), Numer. Math. 101, 87-100: classical Gram-Schmidt twice is enough.
    """
    if not len(starts):
        raise ValueError("starts must hold at least one vector, got none")
    where = torch.device(device or starts[0].device)

    def multiply(vectors: Mapping[int, Tensor]) -> Tensor:
        block = torch.stack(list(vectors.values())).to(where)
        products = matmat(block)
        if products.shape != block.shape:
            raise ValueError(
                f"products must have the shape of the vectors, {tuple(block.shape)}, "
                f"got {tuple(products.shape)}"
            )
        return products

    return tridiagonalise_each(
        multiply,
        starts,
        [num_steps] * len(starts),
        dtype=dtype,
        device=where,
        tolerance=tolerance,
        ends=ends,
        ranks=ranks,
        journals=journals,
        basis_memory=basis_memory,
        scratch=scratch,
    )
