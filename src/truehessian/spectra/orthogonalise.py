"""Orthogonalisation of a vector against the rows of a basis, in float64 slab by slab.

Runs where the basis lies, whatever its precision.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Bytes of the float64 working copy of a slab. On a CPU it has to stay in the cache; a GPU needs
# slabs large enough for its kernels to be longer than their launches.
_WORKING_COPY = {"cpu": 6 << 20, "cuda": 256 << 20}


class Removed(NamedTuple):
    """What `orthogonalise` has taken from a vector.

    Attributes
    ----------
    last
        The component along the last row.
    earlier, typical
        Sum and median of the squared components along all rows but the last two.
    """

    last: float
    earlier: float
    typical: float


def orthogonalise(image: Tensor, basis: Tensor) -> Removed:
    """Remove all components of a vector along the rows of a basis, by classical Gram-Schmidt twice.

    The basis is read three times and not four: the overlaps that the second pass starts from are
    taken of each slab as soon as the first pass has finished it.

    Parameters
    ----------
    image
        Changed in place, shape (P,), float64, where the basis lies.
    basis
        Rows orthonormal to rounding, shape (k, P), in any precision.

    Returns
    -------
    Removed
        In a recurrence, `last` is a diagonal entry of the Jacobi matrix, and the others would be
        zero in exact arithmetic.

    References
    ----------
    Giraud et al. (2005), Numer. Math. 101, 87-100: twice is enough.
    """
    first, second = image.new_zeros(2, len(basis))
    for columns, rows in raised(basis):
        first.addmv_(rows, image[columns])
    for columns, rows in raised(basis):
        part = image[columns].addmv_(rows.T, first, alpha=-1)
        second.addmv_(rows, part)
    for columns, rows in raised(basis):
        image[columns].addmv_(rows.T, second, alpha=-1)
    # One wait for the device, whatever is read.
    squares = first[: max(len(first) - 2, 1)].square()
    found = torch.stack([first[-1] + second[-1], squares.sum(), squares.median()]).tolist()
    return Removed(*found) if len(first) > 2 else Removed(found[0], 0.0, 0.0)


def raised(basis: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Go through the columns of a basis in float64.

    A basis of gigabytes in float32 is never duplicated.

    Yields
    ------
    columns, rows
        A slab, shape (k, columns), valid until the next one: all share one working copy.
    """
    count, num_params = basis.shape
    width = max(_WORKING_COPY.get(basis.device.type, 6 << 20) // (8 * count), 512)
    copy = None
    for begin in range(0, num_params, width):
        columns = slice(begin, min(begin + width, num_params))
        slab = basis[:, columns]
        if basis.dtype != torch.float64:
            if copy is None:
                copy = slab.new_empty(slab.numel(), dtype=torch.float64)
            slab = copy[: slab.numel()].view_as(slab).copy_(slab)
        yield columns, slab
