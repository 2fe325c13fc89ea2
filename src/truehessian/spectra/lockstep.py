"""Lanczos recurrences that go on together, each with a matrix, a length and an end of its own."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from truehessian.spectra import bases as placement
from truehessian.spectra.orthogonalise import Taken, fit_together, project, working_copy
from truehessian.spectra.recurrence import Journal, Recurrence, another_matrix
from truehessian.spectra.ritz import Tridiagonalisation, converged, ritz

logger = logging.getLogger(__name__)

# Vectors by the numbers of their recurrences -> their products, in the same order.
Multiply = Callable[[Mapping[int, Tensor]], Iterable[Tensor]]
# Whether the wanted ends have converged is looked at every so many steps.
_CHECK_EVERY = 4
# A product that is made again may differ by this part, where another machine rounds otherwise.
SAME = 0.01


def tridiagonalise_each(
    multiply: Multiply,
    starts: Sequence[Tensor] | Tensor,
    num_steps: Sequence[int],
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
    """Run Lanczos recurrences of any lengths in lockstep, so that they share passes over the data.

    Their matrices may be one matrix, or several, such as the diagonal blocks of a larger one.

    Parameters
    ----------
    multiply
        Called once per step with the vectors of those recurrences that are not finished, by their
        numbers; gives the product of each with its own symmetric matrix, in the same order. The
        vectors lie where their bases do.
    starts
        Start vectors, shape (P_i,) each; need not be normalised.
    num_steps
        Products per start, one number for each.
    dtype, device, tolerance, ends, ranks, journals, basis_memory, scratch
        As in `lanczos.tridiagonalise_block`. The bases take the sum of m_i P_i numbers.

    Returns
    -------
    list of Tridiagonalisation
        One per start.

    Raises
    ------
    ValueError, MemoryError, FloatingPointError
        As from `lanczos.tridiagonalise_block`.
    """
    if journals is not None and len(journals) != len(starts):
        raise ValueError(f"expected one journal per start, got {len(journals)} for {len(starts)}")
    device = torch.device(device or starts[0].device)
    units = [_unit(start, steps) for start, steps in zip(starts, num_steps, strict=True)]
    shapes = [(steps, len(unit)) for unit, steps in zip(units, num_steps, strict=True)]
    dtype = dtype or starts[0].dtype
    bases = placement.allocate_each(shapes, dtype, device, basis_memory, scratch)
    recurrences = [Recurrence(unit, basis) for unit, basis in zip(units, bases, strict=True)]
    room = working_copy(bases)
    kept = [] if journals is None else list(zip(journals, recurrences, strict=True))
    for journal, recurrence in kept:
        journal.resume(recurrence)
    _check_resumed(kept, multiply)
    active = dict(enumerate(recurrences))
    while active := {
        number: recurrence
        for number, recurrence in active.items()
        if recurrence.steps < num_steps[number]
        and not _finished(recurrence, tolerance, ends, ranks)
    }:
        _advance(active, multiply, room)
        for journal, recurrence in kept:
            journal.record(recurrence)
    for journal, recurrence in kept:
        journal.record(recurrence)
    return [_so_far(recurrence) for recurrence in recurrences]


def _check_resumed(kept: Sequence[tuple[Journal, Recurrence]], multiply: Multiply) -> None:
    """Compare the first step of what is gone on from with a fresh product, to rounding."""
    resumed = {number: pair for number, pair in enumerate(kept) if pair[1].steps}
    if not resumed:
        return
    products = multiply({number: pair[1].basis[0] for number, pair in resumed.items()})
    for (journal, recurrence), product in zip(resumed.values(), products, strict=True):
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
    recurrences: Mapping[int, Recurrence], multiply: Multiply, room: Tensor | None
) -> None:
    """Do one step of each: all their vectors are multiplied together, and all is waited for once.

    What is rare (a rest that is small, or not orthogonal yet, or not finite) is decided on and done
    once the numbers are here.
    """
    products = multiply({number: r.begin() for number, r in recurrences.items()})
    for recurrence, product in zip(recurrences.values(), products, strict=True):
        recurrence.take(product)
    groups = list(_together(recurrences.values()))
    found = [_project(group, room) for group in groups]
    read = torch.cat([rows.flatten() for rows in found]).cpu()  # the wait
    parts = read.split([rows.numel() for rows in found])
    for group, rows, part in zip(groups, found, parts, strict=True):
        for recurrence, numbers in zip(group, part.view(rows.shape), strict=True):
            recurrence.end(Taken.of(numbers.numpy()))


def _together(recurrences: Iterable[Recurrence]) -> Iterator[list[Recurrence]]:
    """Group the recurrences that are orthogonalised together: of one length, where they fit."""
    alike: dict[tuple[int, ...], list[Recurrence]] = {}
    for recurrence in recurrences:
        shape = (recurrence.steps + 1, recurrence.basis.shape[1])
        alike.setdefault(shape, []).append(recurrence)
    for (steps, _), group in alike.items():
        at_once = fit_together(group[0].basis[:steps])
        for begin in range(0, len(group), at_once):
            yield group[begin : begin + at_once]


def _project(group: Sequence[Recurrence], room: Tensor | None) -> Tensor:
    bases = [recurrence.basis[: recurrence.steps + 1] for recurrence in group]
    if len(group) == 1:
        return project(group[0].current.unsqueeze(0), bases, room)
    images = torch.stack([recurrence.current for recurrence in group])
    found = project(images, bases)
    for recurrence, image in zip(group, images, strict=True):
        recurrence.current = image
    return found


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
