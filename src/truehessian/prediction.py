"""What sampling does to the extremal eigenvalues of a Hessian.

A batch of B out of N examples has the Hessian H_B = H + E. With V(u) the mean over examples of
||(H_i - H) u||², the noise E satisfies E||E u||² = f V(u), where f is the finite-population
factor. V(u) averages to P σ² over random unit vectors u; P is the number of parameters and σ² the
mean variance of the Hessian's elements (mini-batch paper, Eq. 9).

The predictions differ in what they assume of the noise: `goe` that it is the same in all
directions, `directional` that the eigenvector's own noise decides, `subspace` nothing within the
extremal eigenvectors and a leak out of them that averages out, `weyl` nothing at all.

Throughout, `end` is "largest" or "smallest", and eigenvalues and scales share their units.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian import rmt
from truehessian.spectrum import ENDS


class SubspacePrediction(NamedTuple):
    """Predicted distribution of a batch's extremal eigenvalue over random batches.

    Attributes
    ----------
    mean, standard_deviation
        Over the draws; NaN where the groups cannot make up a batch.
    draws
        One predicted eigenvalue per random batch, shape (draws,).
    """

    mean: float
    standard_deviation: float
    draws: NDArray


def _sign(end: str) -> int:
    if end not in ENDS:
        raise ValueError(f"end must be one of {ENDS}, got {end!r}")
    return 1 if end == "largest" else -1


def finite_population_factor(batch_size: int, num_examples: int) -> float:
    """Variance of a batch mean per unit of variance over single examples.

    Parameters
    ----------
    batch_size
        B, drawn without replacement.
    num_examples
        N.

    Returns
    -------
    float
        (N - B) / (B (N - 1)): 1 for a single example, 0 for all of them. The mini-batch paper
        writes (N - B) / (B N), which differs by 1/N of itself.

    Raises
    ------
    ValueError
        `batch_size` is not in 1 ... N.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be between 1 and the {num_examples} examples, got {batch_size}"
        )
    if batch_size == num_examples:
        return 0.0
    return (num_examples - batch_size) / (batch_size * (num_examples - 1))


def goe(
    eigenvalue: ArrayLike, factor: ArrayLike, isotropic_variance: ArrayLike, end: str
) -> NDArray:
    """Predict a batch's extremal eigenvalue from noise that is alike in all directions.

    The full Hessian is taken to be of low rank (the rest of its spectrum at zero), the noise as
    a draw from the Gaussian orthogonal ensemble of scale s = √(f P σ²).

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian, any shape.
    factor
        Finite-population factor f; 1/N to predict the full Hessian from the true one.
    isotropic_variance
        P σ²: the mean of V(u) over random *unit* vectors u.
    end
        Which end of the spectrum `eigenvalue` is.

    Returns
    -------
    NDArray
        l + s²/l where l lies beyond s on the side of this end, otherwise the edge ± 2 s; `l`
        itself where s is zero; float64.

    Raises
    ------
    ValueError
        `end` is unknown, or `factor` or `isotropic_variance` is negative.

    References
    ----------
    Mini-batch paper, Eq. 8; with f = 1/N, true-Hessian paper, Eq. 18.
    """
    sign = _sign(end)
    scale = _scale(factor, isotropic_variance)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    # An eigenvalue of the wrong sign lies within the bulk of this end: it counts as no spike.
    noisy = sign * rmt.outlier(np.maximum(sign * eigenvalue, 0.0), scale)
    return np.where(scale == 0, eigenvalue, noisy)


def directional(
    eigenvalue: ArrayLike, factor: ArrayLike, directional_variance: ArrayLike, end: str
) -> NDArray:
    """Predict a batch's extremal eigenvalue from the noise along its own eigenvector.

    Second-order perturbation theory shifts l by E||E u||² / l = f V(u) / l, whatever the noise
    does in other directions. `goe` is the case V(u) = P σ².

    Parameters
    ----------
    eigenvalue, factor, end
        As for `goe`.
    directional_variance
        V(u) for the eigenvector (or Ritz vector) u of `eigenvalue`.

    Returns
    -------
    NDArray
        As for `goe`. Too large in magnitude where a few examples carry most of the noise.

    Raises
    ------
    ValueError
        `end` is unknown, or `factor` or `directional_variance` is negative.
    """
    return goe(eigenvalue, factor, directional_variance, end)


def weyl(
    eigenvalue: ArrayLike,
    factor: ArrayLike,
    num_parameters: int,
    isotropic_variance: ArrayLike,
    end: str,
) -> NDArray:
    """Bound a batch's extremal eigenvalue by Weyl's inequality.

    Parameters
    ----------
    eigenvalue, factor, isotropic_variance, end
        As for `goe`.
    num_parameters
        P.

    Returns
    -------
    NDArray
        l ± √(f P · P σ²), the root mean square of the noise's Frobenius norm, away from zero at
        this end; float64.

    Raises
    ------
    ValueError
        `end` is unknown, `factor` or `isotropic_variance` is negative or `num_parameters` is
        below 1.

    References
    ----------
    Mini-batch paper, Eq. 7.
    """
    shift = rmt.weyl_bound(_scale(factor, isotropic_variance), num_parameters)
    return np.asarray(eigenvalue, dtype=np.float64) + _sign(end) * shift


def _scale(factor: ArrayLike, variance: ArrayLike) -> NDArray:
    factor, variance = np.asarray(factor, np.float64), np.asarray(variance, np.float64)
    if np.any(factor < 0) or np.any(variance < 0):
        raise ValueError(
            f"factor and variance must be at least 0, got {factor.min()} and {variance.min()}"
        )
    return np.sqrt(factor * variance)


def subspace(
    ritz_values: NDArray,
    projected: NDArray,
    leak: NDArray,
    *,
    group_size: int,
    batch_size: int,
    num_examples: int,
    end: str,
    draws: int = 400,
    seed: int = 0,
) -> SubspacePrediction:
    """Predict the distribution of a batch's extremal eigenvalue by drawing batches of groups.

    Within the span of k extremal Ritz vectors a batch is drawn exactly, from the groups'
    projected Hessians; what leaves the span enters by its mean. With A = D + mean of h_G over the
    drawn groups, h_G = Uᵀ (H_G - H) U, and W the leak, the eigenvalue z solves
    z = extreme eigenvalue of A + f W / z. Exact for every batch when U is the whole space.

    Parameters
    ----------
    ritz_values, projected, leak, group_size, num_examples
        The fields of `SubspaceNoise`.
    batch_size
        B, a multiple of `group_size` that the groups can make up.
    end
        Which end of the spectrum to predict.
    draws
        How many batches to draw.
    seed
        Of the draws.

    Returns
    -------
    SubspacePrediction
        All NaN when `batch_size` is no multiple of `group_size` or exceeds the groups' examples.

    Raises
    ------
    ValueError
        The shapes do not fit together, `draws` is below 2 or `end` is unknown.
    """
    sign = _sign(end)
    k = len(ritz_values)
    if projected.shape[1:] != (k, k) or leak.shape != (k, k):
        raise ValueError(
            f"projected and leak must have shapes (groups, {k}, {k}) and ({k}, {k}) for {k} Ritz "
            f"values, got {projected.shape} and {leak.shape}"
        )
    if draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    per_batch, remainder = divmod(batch_size, group_size)
    if remainder or not 1 <= per_batch <= len(projected):
        return SubspacePrediction(math.nan, math.nan, np.full(draws, math.nan))

    noise = projected.astype(np.float64)
    noise -= noise.mean(axis=0)
    batches = np.tile(np.diag(ritz_values).astype(np.float64), (draws, 1, 1))
    if per_batch < len(noise):
        generator = np.random.default_rng(seed)
        for batch in batches:
            drawn = generator.choice(len(noise), per_batch, replace=False, shuffle=False)
            batch += noise[drawn].mean(axis=0)
    factor = finite_population_factor(batch_size, num_examples)
    values = sign * _extreme_with_leak(sign * batches, factor * leak)
    return SubspacePrediction(float(values.mean()), float(values.std(ddof=1)), values)


def _extreme_with_leak(matrices: NDArray, leak: NDArray) -> NDArray:
    """Solve z = largest eigenvalue of A + W / z for each A, shape (draws, k, k) -> (draws,).

    Eliminating the lower half of the eigenvectors of [[A, √W], [√W, 0]] gives just this
    equation, so z is the largest eigenvalue of that matrix: the leaked noise couples the span to
    directions of eigenvalue zero. Iterating the equation itself falls into a two-cycle when A is
    small. Without a leak there is nothing to couple to, and A alone answers, whatever its sign.
    """
    values, vectors = np.linalg.eigh((leak + leak.T) / 2)
    if not np.any(values > 0):
        return np.linalg.eigvalsh(matrices)[:, -1]
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    k = len(leak)
    coupled = np.zeros((len(matrices), 2 * k, 2 * k))
    coupled[:, :k, :k] = matrices
    coupled[:, :k, k:] = coupled[:, k:, :k] = root
    return np.linalg.eigvalsh(coupled)[:, -1]


def choose(
    eigenvalue: float, factor: float, directional_variance: float, *, num_vectors: int, end: str
) -> str:
    """Say beforehand which prediction to trust.

    The subspace prediction knows batches in which a few examples carry the noise, and so holds
    where the directional one overshoots. It fails where the batch's extreme direction lies
    outside the span. That happens at the smallest end when the noise along the eigenvector
    exceeds the eigenvalue, f V > l²: below the transition the batch's extreme vector has no
    overlap left with it. At the largest end the noise lives in the leading vectors themselves.

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian.
    factor
        Finite-population factor f of the batch.
    directional_variance
        V(u) along the eigenvector of `eigenvalue`; NaN if not measured.
    num_vectors
        k, the number of vectors of the subspace prediction; 0 if there is none for this batch.
    end
        Which end of the spectrum `eigenvalue` is.

    Returns
    -------
    str
        "subspace", "directional", or "goe" if neither was measured.

    Raises
    ------
    ValueError
        `end` is unknown.
    """
    upper = _sign(end) == 1
    if math.isnan(directional_variance):
        return "subspace" if num_vectors else "goe"
    above_transition = factor * directional_variance <= eigenvalue**2
    return "subspace" if num_vectors and (upper or above_transition) else "directional"
