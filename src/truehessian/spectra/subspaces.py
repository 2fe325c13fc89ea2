"""How far a subspace has turned from one checkpoint to another."""

import numpy as np
from numpy.typing import NDArray

_COLUMNS = 2**18  # that are multiplied at once in float64


def overlap(first: NDArray, second: NDArray) -> float:
    """Measure how much of one subspace lies in another, from 0 to 1.

    ||V W^T||_F^2 / k: the mean over the first one's vectors of the share of their square that lies
    in the second one, which is Tr(P Q) / sqrt(Tr P Tr Q) with the projections P and Q. Of two
    random subspaces its mean is k / P, see `of_chance`.

    Parameters
    ----------
    first, second
        Orthonormal vectors as rows, shape (k, P), in any precision; sums are float64. Small
        deviations from orthonormality, as those of Ritz vectors, are not mended.

    Raises
    ------
    ValueError
        They differ in shape, or there is no vector.

    References
    ----------
    Gur-Ari, Roberts & Dyer (2018), Gradient descent happens in a tiny subspace, arXiv 1812.04754.
    """
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(
            "expected as many vectors of one length in both subspaces, as rows, got shapes "
            f"{first.shape} and {second.shape}"
        )
    inner = np.zeros((len(first), len(first)))
    for begin in range(0, first.shape[1], _COLUMNS):
        slab = slice(begin, begin + _COLUMNS)
        inner += first[:, slab].astype(np.float64) @ second[:, slab].astype(np.float64).T
    return float((inner**2).sum()) / len(first)


def of_chance(dimension: int, num_params: int) -> float:
    """Give the mean overlap of random subspaces, k / P: also of one with a random vector."""
    return dimension / num_params
