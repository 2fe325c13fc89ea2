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

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory import rmt
from truehessian.theory.predictions.subspace import (
    SubspacePrediction,
    finite_population_factor,
    sign_of as _sign,
    subspace,
)

__all__ = [
    "SubspacePrediction",
    "choose",
    "directional",
    "finite_population_factor",
    "goe",
    "overlap",
    "subspace",
    "weyl",
]


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


def overlap(eigenvalue: ArrayLike, factor: ArrayLike, variance: ArrayLike, end: str) -> NDArray:
    """Predict the squared overlap of an eigenvector of the batch with that of all the data.

    Parameters
    ----------
    eigenvalue, factor, end
        As for `goe`.
    variance
        P σ² or V(u), as for `goe` or `directional`.

    Returns
    -------
    NDArray
        1 - f V / l², and 0 where the noise exceeds the eigenvalue; float64.

    Raises
    ------
    ValueError
        `end` is unknown, or `factor` or `variance` is negative.

    References
    ----------
    Benaych-Georges & Nadakuditi (2011), Advances in Mathematics 227(1), 494-521, Sec. 3.1.
    """
    sign, scale = _sign(end), _scale(factor, variance)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    return np.where(scale == 0, 1.0, rmt.overlap(np.maximum(sign * eigenvalue, 0.0), scale))


def choose(
    eigenvalue: float,
    factor: float,
    directional_variance: float,
    *,
    num_vectors: int,
    end: str,
    num_leaks: int = 0,
) -> str:
    """Say beforehand which prediction to trust.

    The subspace prediction knows batches in which a few examples carry the noise, and so holds
    where the directional one overshoots. It fails where the batch's extreme direction lies
    outside the span. With Ritz vectors alone that happens at the smallest end when the noise
    along the eigenvector exceeds the eigenvalue, f V > l²: below the transition the batch's
    extreme vector has no overlap left with it. At the largest end the noise lives in the leading
    vectors themselves, and directions that the noise turns the Ritz vectors to mend either end.

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian.
    factor
        Finite-population factor f of the batch.
    directional_variance
        V(u) along the eigenvector of `eigenvalue`; NaN if not measured.
    num_vectors
        k, the number of Ritz vectors of the subspace prediction; 0 if there is none for this
        batch.
    end
        Which end of the spectrum `eigenvalue` is.
    num_leaks
        How many directions beside the Ritz vectors the span holds.

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
    inside = upper or above_transition or num_leaks > 0
    return "subspace" if num_vectors and inside else "directional"
