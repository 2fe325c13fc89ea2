"""The noise of a Hessian seen from a few vectors: measured once, used by predictions.

A module of its own, because the measurement is expensive and must not depend on how predictions are
made from it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_ARRAYS = ("ritz_values", "hessian", "projected", "leak")


class SubspaceNoise(NamedTuple):
    """The Hessians of groups of examples, seen from an orthonormal basis U of K vectors.

    They are those of the loss alone, without a weight decay.

    The first k vectors are extremal Ritz vectors, those of the largest values first and then those
    of the smallest, from the outermost inwards; the others are where the noise turns these to.

    Attributes
    ----------
    ritz_values
        Of the full Hessian, for the first k columns of U, shape (k,).
    projected
        Uᵀ H_G U for every random group G of `group_size` examples, shape (groups, K, K).
    leak
        Gram matrix of the noise that leaves U, mean of ||(1 - U Uᵀ)(H_i - H) U||² over single
        examples i (not groups), shape (K, K), symmetric, positive semidefinite.
    group_size
        Examples per group.
    num_examples
        N, of the full Hessian.
    hessian
        Uᵀ H U, shape (K, K); None where U holds the k Ritz vectors only and it is diagonal.
    """

    ritz_values: NDArray
    projected: NDArray
    leak: NDArray
    group_size: int
    num_examples: int
    hessian: NDArray | None = None


def split_noise(
    ritz_values: NDArray,
    covariance: NDArray,
    projected: NDArray,
    *,
    group_size: int,
    num_examples: int,
    hessian: NDArray | None = None,
) -> SubspaceNoise:
    """Split the noise of a few vectors into what stays in their span and what leaks.

    Parameters
    ----------
    ritz_values, projected, group_size, num_examples, hessian
        As in `SubspaceNoise`; `projected` holds groups of full size only, at least two.
    covariance
        Mean over examples of (H_i - H) u_a · (H_i - H) u_b, shape (K, K); NaN where it is not
        known, and the leaks are then taken for uncorrelated.

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
    leak = np.where(np.isnan(covariance), 0.0, covariance - within)
    return SubspaceNoise(ritz_values, projected, leak, group_size, num_examples, hessian)


def widened(
    ritz_values: NDArray,
    own: tuple[NDArray, NDArray],
    cross: NDArray,
    further: tuple[NDArray, NDArray],
    hessians: tuple[NDArray, NDArray],
    *,
    group_size: int,
    num_examples: int,
) -> SubspaceNoise:
    """Put what two passes have measured into one: along Ritz vectors U, then along leaks Q.

    Parameters
    ----------
    ritz_values, group_size, num_examples
        As in `SubspaceNoise`.
    own, further
        Covariance and `projected` of each pass by itself, shapes (k, k) and (groups, k, k), and
        (q, q) and (groups, q, q).
    cross
        Uᵀ H_G Q, shape (groups, k, q).
    hessians
        Uᵀ H Q, shape (k, q), and Qᵀ H Q, shape (q, q).
    """
    k, q = len(ritz_values), cross.shape[2]
    covariance = np.full((k + q, k + q), np.nan)
    covariance[:k, :k], covariance[k:, k:] = own[0], further[0]
    projected = _blocks(own[1], cross, further[1])
    hessian = _blocks(np.diag(ritz_values), *hessians)
    return split_noise(
        ritz_values,
        covariance,
        projected,
        group_size=group_size,
        num_examples=num_examples,
        hessian=hessian,
    )


def _blocks(upper: NDArray, right: NDArray, lower: NDArray) -> NDArray:
    """Symmetric matrices [[upper, right], [rightᵀ, lower]], rounding averaged out."""
    top = np.concatenate([upper, right], axis=-1)
    bottom = np.concatenate([np.swapaxes(right, -1, -2), lower], axis=-1)
    whole = np.concatenate([top, bottom], axis=-2)
    return (whole + np.swapaxes(whole, -1, -2)) / 2


def save(path: str | Path, noise: SubspaceNoise) -> None:
    """Write the noise within a subspace as an NPZ archive of its attributes."""
    known = {name: value for name, value in noise._asdict().items() if value is not None}
    np.savez(path, **known)


def load(path: str | Path) -> SubspaceNoise:
    """Read what `save` has written."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in _ARRAYS if name in archive}
        return SubspaceNoise(
            **arrays,
            group_size=int(archive["group_size"]),
            num_examples=int(archive["num_examples"]),
        )
