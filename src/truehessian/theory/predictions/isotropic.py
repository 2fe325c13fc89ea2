"""What sampling does to the extremal eigenvalues of a Hessian.

A batch of B out of N examples has the Hessian H_B = H + E. With V(u) the mean over examples of
||(H_i - H) u||², the noise E satisfies E||E u||² = f V(u), where f is the finite-population
factor. V(u) averages to P σ² over random unit vectors u; P is the number of parameters and σ² the
mean variance of the Hessian's elements (mini-batch paper, Eq. 9).

The predictions differ in what they assume of the noise: `goe` that it is the same in all
directions, `directional` that the eigenvector's own noise decides, `subspace.subspace` nothing
within the extremal eigenvectors and a leak out of them that averages out, `weyl` nothing at all.

Throughout, `end` is "largest" or "smallest", and eigenvalues and scales share their units.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory import rmt
from truehessian.theory.predictions.base import Known, Predicted, Prediction, Variance, sign_of

# Shares of the shift that predictions miss by their assumptions, root mean square, on the networks
# of docs/predictions.md; twice as much for an eigenvalue that is buried in its noise.
DIRECTIONAL_DOUBT = {"largest": 0.3, "smallest": 0.4}
# At least, even where noise is as strong along the eigenvector as in all directions.
GOE_DOUBT = 0.6


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
    sign = sign_of(end)
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
    return np.asarray(eigenvalue, dtype=np.float64) + sign_of(end) * shift


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
    sign, scale = sign_of(end), _scale(factor, variance)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    return np.where(scale == 0, 1.0, rmt.overlap(np.maximum(sign * eigenvalue, 0.0), scale))


def _shifted(known: Known, variances: list[Variance]) -> Predicted:
    """Shift each eigenvalue by the noise of its variance, and by both ends of the interval."""
    noises = np.array([[noise.value, *noise.interval()] for noise in variances]).reshape(-1, 3)
    shifted = goe(known.eigenvalues[:, None], known.factor, noises, known.end)
    low, high = np.sort(shifted[:, 1:], axis=1).T
    return Predicted(shifted[:, 0], low, high)


def _turned(known: Known, noise: Variance) -> NDArray:
    """Overlap of the extreme vector with that of all the data; the formula says no more."""
    turned = np.full(len(known.eigenvalues), np.nan)
    turned[:1] = overlap(known.eigenvalues[:1], known.factor, noise.value, known.end)
    return turned


def buried(known: Known) -> NDArray:
    """Say how deep each eigenvalue lies in its own noise: f V / (l² + f V), shape (R,)."""
    noise = known.factor * np.array([along.value for along in known.along])
    outside = np.maximum(sign_of(known.end) * known.eigenvalues, 0.0)
    total = outside**2 + noise
    return np.divide(noise, total, out=np.zeros_like(total), where=total != 0)


def _missing_noise(known: Known) -> NDArray:
    """Compare the shift by the noise of random directions with that by the eigenvectors' own."""
    if np.isnan(known.isotropic.value):
        return np.full(len(known.eigenvalues), np.nan)
    along = np.array([noise.value for noise in known.along])
    full = known.eigenvalues
    shifts = [
        goe(full, known.factor, np.where(np.isnan(noise), 0.0, noise), known.end) - full
        for noise in (known.isotropic.value, along)
    ]
    shares = np.divide(shifts[0], shifts[1], out=np.zeros_like(full), where=shifts[1] != 0)
    return np.maximum(np.abs(1 - shares), GOE_DOUBT)


def _along_both_ends(variances: Sequence[Variance]) -> NDArray:
    """Count the Ritz vectors of either end down to each of these; NaN where one is missing."""
    found = ~np.isnan([noise.value for noise in variances])
    return np.where(found, 2.0 * np.arange(1, len(found) + 1), np.nan)


GOE = Prediction(
    name="goe",
    label="GOE",
    marker="^",
    colour="orange",
    assumption="takes the noise to be the same in all directions",
    predict=lambda known: _shifted(known, [known.isotropic] * len(known.eigenvalues)),
    overlap=lambda known: _turned(known, known.isotropic),
    overlap_rule="1 − fV/λ², with the variance along random directions",
    passes=lambda known: known.random_directions or np.nan,
    doubt=lambda known: _missing_noise(known),
)
DIRECTIONAL = Prediction(
    name="directional",
    label="directional",
    marker="s",
    colour="green",
    assumption="takes its variance along the Ritz vector",
    predict=lambda known: _shifted(known, list(known.along)),
    overlap=lambda known: _turned(known, known.along[0]),
    overlap_rule="1 − fV/λ², with the variance along the Ritz vector",
    passes=lambda known: _along_both_ends(known.along),
    doubt=lambda known: DIRECTIONAL_DOUBT[known.end] * (1 + buried(known)),
)
