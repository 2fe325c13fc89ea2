"""Which ranks Ritz values have, and how far the eigenvalues of these ranks may be. NumPy only."""

import numpy as np
from numpy.typing import NDArray

# Ranks are counted where residuals are below this part of the gaps: where they are larger, what
# looks like one eigenvalue may well be two.
SEPARATE = 0.01


def errors_of_ranks(values: NDArray, residuals: NDArray, floor: float) -> NDArray:
    """Bound the distance from each value to the eigenvalue of its rank; from the extreme inwards.

    Values whose residuals overlap make a cluster. While residuals, but for their `floor`, the
    precision of the products, are small beside the gaps between clusters, every value outside is
    accounted for, and an eigenvalue lies no farther out than the outermost of its cluster; from
    there on, no farther out than the last of those. Where not even the extreme is separate, it may
    be nearer to the second eigenvalue than to the first, and twice its residual is allowed for.

    Parameters
    ----------
    values, residuals
        Shape (m,).
    floor
        Part of the residuals that more steps could not remove.

    Returns
    -------
    NDArray
        Shape (m,), no less than the residuals.
    """
    gaps = np.append(values[:-1] - values[1:], np.inf)[: len(values)]
    apart = gaps > residuals + np.append(residuals[1:], 0.0)[: len(values)]
    limits = np.empty((2, len(values)))  # a place, and how far out of it eigenvalues may be
    limit, begin, sound = (0, 2.0), 0, True
    for last in map(int, np.flatnonzero(apart)):
        cluster = slice(begin, last + 1)
        sound = sound and residuals[cluster].max() - floor <= SEPARATE * gaps[last]
        place, doubt = (begin, 1.0) if sound else limit
        limits[:, cluster] = [[values[place]], [doubt * residuals[place]]]
        limit, begin = (last, 1.0) if sound else limit, last + 1
    return np.maximum(residuals, limits[1] + (limits[0] - values))
