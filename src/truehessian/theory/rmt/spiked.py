"""A few isolated eigenvalues (spikes) plus symmetric noise whose law is a semicircle.

`scale` is throughout the scale of the semicircle: the noise fills [-2 scale, 2 scale].
NaN in gives NaN out.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bbp_threshold(scale: ArrayLike) -> NDArray:
    """Magnitude that a spike must exceed to show outside the noise.

    Parameters
    ----------
    scale
        Scale of the noise, at least 0.

    Returns
    -------
    NDArray
        The scale itself: the edge lies at twice the scale, the transition at once.

    Raises
    ------
    ValueError
        A `scale` is negative.

    References
    ----------
    Baik, Ben Arous & Péché (2005), Annals of Probability 33(5), 1643-1697; for this additive
    model Benaych-Georges & Nadakuditi (2011), Advances in Mathematics 227(1), 494-521.
    """
    scale = np.asarray(scale, dtype=np.float64)
    if np.any(scale < 0):
        raise ValueError(f"scale must be at least 0, got {scale.min()}")
    return scale


def outlier(spike: ArrayLike, scale: ArrayLike) -> NDArray:
    """Where a spike shows in the spectrum of spike plus noise.

    Parameters
    ----------
    spike
        Eigenvalue without noise, of either sign, any shape.
    scale
        Scale of the noise, at least 0, broadcast against `spike`.

    Returns
    -------
    NDArray
        spike + scale²/spike above the threshold in magnitude, otherwise the edge on the side of
        the spike's sign (the right edge for 0); float64.

    Raises
    ------
    ValueError
        A `scale` is negative.

    References
    ----------
    True-Hessian paper, Eqs. 16-17; mini-batch paper, Eq. 8.
    """
    spike = np.asarray(spike, dtype=np.float64)
    threshold = bbp_threshold(scale)
    hidden = np.abs(spike) <= threshold  # false for NaN, which then propagates
    shift = threshold**2 / np.where(hidden, 1.0, spike)
    return np.where(hidden, np.copysign(2 * threshold, spike), spike + shift)


def spike_of_outlier(outlier: ArrayLike, scale: ArrayLike) -> NDArray:
    """Recover the spike from where it shows, the inverse of `outlier`.

    Parameters
    ----------
    outlier
        Observed eigenvalue, of either sign, any shape.
    scale
        Scale of the noise, at least 0, broadcast against `outlier`.

    Returns
    -------
    NDArray
        (outlier ± √(outlier² - 4 scale²)) / 2 with the sign of the outlier; NaN at or inside the
        edges, where every spike below the threshold looks the same; float64.

    Raises
    ------
    ValueError
        A `scale` is negative.
    """
    outlier = np.asarray(outlier, dtype=np.float64)
    edge = 2 * bbp_threshold(scale)
    magnitude = np.abs(outlier)
    outside = np.where(magnitude > edge, magnitude, np.nan)
    root = np.sqrt((outside - edge) * (outside + edge))  # no overflow, no cancellation
    return np.copysign((outside + root) / 2, outlier)


def overlap(spike: ArrayLike, scale: ArrayLike) -> NDArray:
    """Squared overlap of the outlier's eigenvector with the direction of its spike.

    Parameters
    ----------
    spike
        Eigenvalue without noise, of either sign, any shape.
    scale
        Scale of the noise, at least 0, broadcast against `spike`.

    Returns
    -------
    NDArray
        1 - scale²/spike² above the threshold in magnitude, 0 below; float64.

    Raises
    ------
    ValueError
        A `scale` is negative.

    References
    ----------
    Benaych-Georges & Nadakuditi (2011), Advances in Mathematics 227(1), 494-521, Sec. 3.1.
    """
    spike = np.asarray(spike, dtype=np.float64)
    threshold = bbp_threshold(scale)
    hidden = np.abs(spike) <= threshold
    return np.where(hidden, 0.0, 1 - (threshold / np.where(hidden, 1.0, spike)) ** 2)


def weyl_bound(scale: ArrayLike, order: int) -> NDArray:
    """Bound on the shift of any eigenvalue by the noise's Frobenius norm.

    Parameters
    ----------
    scale
        Scale of the noise, at least 0: √order times the standard deviation of its entries.
    order
        Order of the matrix.

    Returns
    -------
    NDArray
        Root mean square of the Frobenius norm, √order · scale, in units of the eigenvalues. It
        exceeds the edge 2 scale by √order / 2: a bound without assumptions, and a loose one.

    Raises
    ------
    ValueError
        A `scale` is negative or `order` is below 1.

    References
    ----------
    Mini-batch paper, Eq. 7.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    return bbp_threshold(scale) * math.sqrt(order)
