"""Orthogonalisation of vectors against the rows of bases, in float64 slab by slab.

Runs where the bases lie, whatever their precision. All is enqueued before anything is read, so that
a GPU is waited for once.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Bytes of the float64 working copy of a slab. On a CPU it has to stay in the cache; a GPU needs
# slabs large enough for its kernels to be longer than their launches.
_WORKING_COPY = {"cpu": 6 << 20, "cuda": 256 << 20}
# Bytes of a copy of all columns, which is made once for all passes where it is no larger.
_WHOLE_COPY = {"cpu": 16 << 20, "cuda": 256 << 20}
_LEAST = 512  # columns of a slab
# Rows that a product of a recurrence has large components along: the last two.
_RECENT = 2
# What is left is orthogonal enough if no more than this part of it was taken along all rows. What
# stays is that part times the loss of orthogonality of the rows themselves, a hundredth of it.
_MUCH = 0.01


class Removed(NamedTuple):
    """What was taken from a vector.

    Attributes
    ----------
    last
        The component along the last row.
    earlier, typical
        Sum and median of the squared components along all rows but the last two.
    left
        Norm of what is left.
    """

    last: float
    earlier: float
    typical: float
    left: float


class Taken(NamedTuple):
    """What `project` has found out of one vector, read from the device.

    Attributes
    ----------
    whole, left
        Norms of the vector before and after.
    recent
        Components along the last two rows (or the one that there is), taken first.
    overlaps
        Components along all rows, taken from the rest; shape (n,).
    """

    whole: float
    left: float
    recent: NDArray
    overlaps: NDArray

    @classmethod
    def of(cls, numbers: NDArray) -> Self:
        """Take apart a row of what `project` gives: with two recent rows, or one and one in all."""
        begin = 2 + min(_RECENT, len(numbers) // 2 - 1)
        return cls(float(numbers[0]), float(numbers[1]), numbers[2:begin], numbers[begin:])

    @property
    def is_orthogonal(self) -> bool:
        """Whether a pass more would take nothing that counts."""
        return math.sqrt(self.overlaps @ self.overlaps) <= _MUCH * self.left

    @property
    def last(self) -> float:
        """The component along the last row."""
        return float(self.recent[-1] + self.overlaps[-1])


def project(images: Tensor, bases: Sequence[Tensor], room: Tensor | None = None) -> Tensor:
    """Remove the components of vectors along the rows of their bases; nothing is waited for.

    Those along the last two rows are taken first, and then what there is along all rows, by
    classical Gram-Schmidt. In a Lanczos recurrence the former are all that is not rounding, so that
    the second pass leaves what is orthogonal to rounding; `Taken.is_orthogonal` tells.

    Parameters
    ----------
    images
        Changed in place, shape (k, P), float64, where the bases lie.
    bases
        One for each: rows orthonormal to rounding, shape (n, P), in any precision. More than one at
        a time have to fit together, see `fit_together`.
    room
        For the working copy, see `working_copy`.

    Returns
    -------
    Tensor
        Rows for `Taken.of`, shape (k, 2 + min(n, 2) + n), float64, on the device.

    References
    ----------
    Simon (1984), Linear Algebra Appl. 61, 101-131: what a Lanczos step brings along earlier rows.
    """
    whole, vectors = torch.linalg.vector_norm(images, dim=1, keepdim=True), images.unsqueeze(2)
    if len(bases) == 1 and not _copies_at_once(bases[0]):
        found = _project_slab_by_slab(vectors, bases[0].unsqueeze(0), room)
    else:
        found = _project_at_once(vectors, _raised_whole(bases, room))
    left = torch.linalg.vector_norm(images, dim=1, keepdim=True)
    return torch.cat([whole, left, *(components.squeeze(2) for components in found)], dim=1)


def _project_at_once(vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Project vectors (k, P, 1) against rows (k, n, P) in float64."""
    last = rows[:, -_RECENT:]
    recent = last.bmm(vectors)
    vectors.baddbmm_(last.mT, recent, alpha=-1)
    overlaps = rows.bmm(vectors)
    vectors.baddbmm_(rows.mT, overlaps, alpha=-1)
    return recent, overlaps


def _project_slab_by_slab(
    vectors: Tensor, basis: Tensor, room: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Project vectors (1, P, 1) against a basis (1, n, P) of which no float64 copy is to be made.

    The overlaps with all rows are taken of each slab as soon as the last two rows are done with it,
    so that the basis is read twice.
    """
    last = basis[:, -_RECENT:]
    recent, overlaps = (vectors.new_zeros(1, rows.shape[1], 1) for rows in (last, basis))
    for columns, rows in raised(last, room):
        recent.baddbmm_(rows, vectors[:, columns])
    for columns, rows in raised(basis, room):
        part = vectors[:, columns].baddbmm_(rows[:, -_RECENT:].mT, recent, alpha=-1)
        overlaps.baddbmm_(rows, part)
    for columns, rows in raised(basis, room):
        vectors[:, columns].baddbmm_(rows.mT, overlaps, alpha=-1)
    return recent, overlaps


def _raised_whole(bases: Sequence[Tensor], room: Tensor | None) -> Tensor:
    """Give bases in float64, shape (k, n, P)."""
    if len(bases) > 1:
        return torch.stack(list(bases)).double()
    (basis,) = bases
    if room is None or basis.dtype == torch.float64:
        return basis.double().unsqueeze(0)
    return room[: basis.numel()].view(1, *basis.shape).copy_(basis)


def finish(image: Tensor, basis: Tensor, taken: Taken) -> Removed:
    """Orthogonalise once more where `project` took much; this is rare, and waits for the device.

    Parameters
    ----------
    image, basis
        The vector after `project`, shape (P,), changed in place, and its basis, shape (n, P).
    taken
        What `project` took.

    Returns
    -------
    Removed
        In a recurrence, `last` is a diagonal entry of the Jacobi matrix, and `earlier` and
        `typical` are of numbers that would be zero in exact arithmetic.

    References
    ----------
    Giraud et al. (2005), Numer. Math. 101, 87-100: twice is enough.
    """
    last, left = taken.last, taken.left
    if not taken.is_orthogonal:
        again = _project_one(image, basis)
        last, left = last + again.last, again.left
    squares = taken.overlaps[:-_RECENT] ** 2
    if not len(squares):
        return Removed(last, 0.0, 0.0, left)
    middle = (len(squares) - 1) // 2
    typical = np.partition(squares, middle)[middle]
    return Removed(last, float(squares.sum()), float(typical), left)


def orthogonalise(image: Tensor, basis: Tensor) -> Removed:
    """Remove all components of a vector along the rows of a basis, and wait for it.

    Parameters
    ----------
    image
        Changed in place, shape (P,), float64, where the basis lies.
    basis
        Rows orthonormal to rounding, shape (n, P), in any precision.
    """
    return finish(image, basis, _project_one(image, basis))


def _project_one(image: Tensor, basis: Tensor) -> Taken:
    return Taken.of(project(image.unsqueeze(0), [basis])[0].cpu().numpy())


def fit_together(basis: Tensor) -> int:
    """How many bases of this shape a GPU orthogonalises against at once; one of large ones.

    On a CPU it is one always: how its kernels for several round depends on their number, and a
    recurrence has to have the same bits alone and among others.
    """
    if basis.device.type == "cpu":
        return 1
    return max(_copies_at_once(basis), 1)


def working_copy(bases: Iterable[Tensor]) -> Tensor | None:
    """Make room for the float64 copies of slabs, once for all steps; none where none is needed.

    Memory that a CPU gives back and takes again is cleared by the system at every step, which takes
    longer than all the rest. A GPU's allocator keeps it.
    """
    lowered = [basis for basis in bases if basis.dtype != torch.float64]
    if not lowered or lowered[0].device.type != "cpu":
        return None
    largest = max(lowered, key=Tensor.numel)
    most = max(_WHOLE_COPY["cpu"], _WORKING_COPY["cpu"]) // 8
    size = max(most, _LEAST * max(map(len, lowered)))
    return largest.new_empty(min(largest.numel(), size), dtype=torch.float64)


def _copies_at_once(basis: Tensor) -> int:
    """How many such bases may be in float64 as a whole."""
    return _WHOLE_COPY.get(basis.device.type, _WHOLE_COPY["cpu"]) // (8 * basis.numel())


def raised(basis: Tensor, room: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Go through the columns of a basis, or of several of one shape, in float64.

    A basis of gigabytes in float32 is never duplicated.

    Parameters
    ----------
    basis
        Shape (.., n, P).
    room
        For the working copy, see `working_copy`.

    Yields
    ------
    columns, rows
        A slab, shape (.., n, columns), valid until the next one: all share one working copy.
    """
    num_params, width = basis.shape[-1], _width(basis)
    for begin in range(0, num_params, width):
        columns = slice(begin, min(begin + width, num_params))
        slab = basis[..., columns]
        if basis.dtype != torch.float64:
            if room is None:
                room = slab.new_empty(slab.numel(), dtype=torch.float64)
            slab = room[: slab.numel()].view_as(slab).copy_(slab)
        yield columns, slab


def _width(basis: Tensor) -> int:
    """Columns of a slab."""
    copy = _WORKING_COPY.get(basis.device.type, _WORKING_COPY["cpu"])
    return max(copy // (8 * math.prod(basis.shape[:-1])), _LEAST)
