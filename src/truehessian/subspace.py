"""The noise of a Hessian seen from a few of its Ritz vectors: measured once, used by predictions.

A module of its own, because the measurement is expensive and must not depend on how predictions are
made from it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SubspaceNoise(NamedTuple):
    """The Hessians of groups of examples, seen from k extremal Ritz vectors U.

    Attributes
    ----------
    ritz_values
        Of the full Hessian, for the columns of U, shape (k,).
    projected
        Uᵀ H_G U for every random group G of `group_size` examples, shape (groups, k, k).
    leak
        Gram matrix of the noise that leaves U, mean of ||(1 - U Uᵀ)(H_i - H) U||² over single
        examples i (not groups), shape (k, k), symmetric, positive semidefinite.
    group_size
        Examples per group.
    num_examples
        N, of the full Hessian.
    """

    ritz_values: NDArray
    projected: NDArray
    leak: NDArray
    group_size: int
    num_examples: int


def split_noise(
    ritz_values: NDArray,
    covariance: NDArray,
    projected: NDArray,
    *,
    group_size: int,
    num_examples: int,
) -> SubspaceNoise:
    """Split the noise of k extremal Ritz vectors into what stays in their span and what leaks.

    Parameters
    ----------
    ritz_values, projected, group_size, num_examples
        As in `SubspaceNoise`; `projected` holds groups of full size only, at least two.
    covariance
        Mean over examples of (H_i - H) u_a · (H_i - H) u_b, shape (k, k).

    Returns
    -------
    SubspaceNoise
        The leak is `covariance` less its part within the span. An unbiased estimate, it may have
        small negative eigenvalues, which `subspace` takes for zero.

    Raises
    ------
    ValueError
        There are fewer than two groups.
    """
    groups = len(projected)
    if groups < 2:
        raise ValueError(f"projected must hold at least two groups, got {groups}")
    noise = projected - projected.mean(axis=0)
    scatter = np.einsum("gab,gcb->ac", noise, noise) / (groups - 1)
    # Over random disjoint groups the scatter has the mean within · N / (g (N - 1)).
    within = scatter * group_size * (num_examples - 1) / num_examples
    return SubspaceNoise(ritz_values, projected, covariance - within, group_size, num_examples)


def save(path: str | Path, noise: SubspaceNoise) -> None:
    """Write the noise within a subspace as an NPZ archive of its attributes."""
    np.savez(path, **noise._asdict())


def load(path: str | Path) -> SubspaceNoise:
    """Read what `save` has written."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in ("ritz_values", "projected", "leak")}
        return SubspaceNoise(
            **arrays,
            group_size=int(archive["group_size"]),
            num_examples=int(archive["num_examples"]),
        )
