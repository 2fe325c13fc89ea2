"""Orthogonalisation of a vector against the rows of a basis, in float64 slab by slab.

Runs where the basis lies, whatever its precision.
"""

import torch
from torch import Tensor

# Columns of the basis that are raised to float64 at a time: the working copy stays in the cache
# and a float32 basis of gigabytes is never duplicated.
_SLAB = 1 << 16


def orthogonalise(image: Tensor, basis: Tensor) -> float:
    """Remove from `image`, in place, all components along the rows of `basis`, twice.

    Returns the component along the last row, which is the new diagonal entry.
    """
    component = 0.0
    for _ in range(2):
        overlaps = torch.zeros(len(basis), dtype=torch.float64, device=basis.device)
        for slab in slabs(basis.shape[1]):
            overlaps += basis[:, slab].double() @ image[slab]
        for slab in slabs(basis.shape[1]):
            image[slab] -= overlaps @ basis[:, slab].double()
        component += overlaps[-1].item()
    return component


def slabs(num_params: int) -> list[slice]:
    """Cut the columns of a basis into slabs that fit into the cache as float64."""
    return [slice(begin, begin + _SLAB) for begin in range(0, num_params, _SLAB)]
