"""Outliers of a spiked matrix under free noise of any law, and of sample covariances.

Additive: A + X with free noise X of R transform R and a matrix A whose spectrum is a bulk
(Stieltjes transform g_A) and isolated eigenvalues θ. They show at θ + R(g_A(θ)), the point z with
ω(z) = θ, if that increases with θ. `SemicircularSum` knows more about semicircular noise.

Multiplicative: the sample covariance of data whose population covariance is the identity, times a
variance, but for isolated eigenvalues.
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory.rmt.marchenko_pastur import MarchenkoPastur


class Bulk(Protocol):
    """A law whose Stieltjes transform can be differentiated on the real axis."""

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = ∫ dμ(λ) / (z - λ)."""

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Its derivative."""


class Noise(Protocol):
    """A law that is known by its R transform."""

    def r_transform(self, w: ArrayLike) -> NDArray:
        """R transform."""

    def r_derivative(self, w: ArrayLike) -> NDArray:
        """Its derivative."""


def deformed_outlier(spike: ArrayLike, bulk: Bulk, noise: Noise) -> NDArray:
    """Where an eigenvalue beside the bulk shows after free noise has been added.

    Parameters
    ----------
    spike
        Eigenvalue θ of vanishing mass, any shape.
    bulk
        Law of the other eigenvalues without noise; one node at 0 for a matrix of low rank.
    noise
        Law of the noise.

    Returns
    -------
    NDArray
        θ + R(g_bulk(θ)); NaN where no outlier belongs to the spike; float64.

    Raises
    ------
    ValueError
        A spike lies on a node or inside the support of the bulk.

    References
    ----------
    Benaych-Georges & Nadakuditi (2011), Advances in Mathematics 227(1), 494-521, Theorem 2.1, for
    low rank; Belinschi, Bercovici, Capitaine & Février (2017), Annals of Probability 45(6A),
    3571-3625, in general.
    """
    spike = np.asarray(spike, dtype=np.float64)
    place = spike + noise.r_transform(bulk.stieltjes(spike))
    return np.where(_slope(spike, bulk, noise) > 0, place, np.nan)


def deformed_overlap(spike: ArrayLike, bulk: Bulk, noise: Noise) -> NDArray:
    """Squared overlap of the outlier's eigenvector with the direction of its spike.

    Parameters
    ----------
    spike, bulk, noise
        As for `deformed_outlier`.

    Returns
    -------
    NDArray
        1 + R'(g) g'(θ) with the bulk's g = g(θ), which is 1/ω' at the outlier; 0 where there is no
        outlier, NaN for NaN; float64.

    Raises
    ------
    ValueError
        A spike lies on a node or inside the support of the bulk.

    References
    ----------
    Benaych-Georges & Nadakuditi (2011), Theorem 2.2, where it reads -1 / (θ² g'(outlier)) with the
    noise's g.
    """
    spike = np.asarray(spike, dtype=np.float64)
    return np.maximum(_slope(spike, bulk, noise), 0)


def covariance_threshold(noise: MarchenkoPastur) -> tuple[float, float]:
    """Give the population eigenvalues between which a spike does not show: variance (1 ∓ √ratio).

    The left one is negative, and so without effect, for a ratio above 1.
    """
    root = math.sqrt(noise.ratio)
    return noise.variance * (1 - root), noise.variance * (1 + root)


def covariance_outlier(spike: ArrayLike, noise: MarchenkoPastur) -> NDArray:
    """Where an isolated population eigenvalue shows in the sample covariance.

    Parameters
    ----------
    spike
        Population eigenvalue ℓ, positive, any shape.
    noise
        Law of the sample covariance without spikes.

    Returns
    -------
    NDArray
        ℓ + ratio variance ℓ / (ℓ - variance) off the thresholds; between them the edge on the side
        of the spike (the right one for ℓ equal to the variance); float64.

    Raises
    ------
    ValueError
        A `spike` is not positive.

    References
    ----------
    Baik & Silverstein (2006), Journal of Multivariate Analysis 97(6), 1382-1408, Theorem 1.1;
    Paul (2007), Statistica Sinica 17(4), 1617-1642.
    """
    spike, hidden, distance = _population(spike, noise)
    left, right = noise.edges
    edge = np.where(spike < noise.variance, left, right)
    return np.where(hidden, edge, spike + noise.ratio * noise.variance * spike / distance)


def covariance_overlap(spike: ArrayLike, noise: MarchenkoPastur) -> NDArray:
    """Squared overlap of the sample eigenvector with the population eigenvector.

    Parameters
    ----------
    spike, noise
        As for `covariance_outlier`.

    Returns
    -------
    NDArray
        (1 - ratio variance²/(ℓ - variance)²) / (1 + ratio variance/(ℓ - variance)) off the
        thresholds, 0 between them; float64.

    Raises
    ------
    ValueError
        A `spike` is not positive.

    References
    ----------
    Paul (2007), Statistica Sinica 17(4), 1617-1642, Theorem 4; Benaych-Georges & Nadakuditi (2011),
    Sec. 3.2.
    """
    _, hidden, distance = _population(spike, noise)
    inverse = noise.variance / distance
    return np.where(
        hidden, 0.0, (1 - noise.ratio * inverse**2) / np.where(hidden, 1, 1 + noise.ratio * inverse)
    )


def _slope(spike: NDArray, bulk: Bulk, noise: Noise) -> NDArray:
    """Differentiate the outlier's place by the spike."""
    slope = noise.r_derivative(bulk.stieltjes(spike)) * bulk.stieltjes_derivative(spike)
    return 1 + slope


def _population(spike: ArrayLike, noise: MarchenkoPastur) -> tuple[NDArray, NDArray, NDArray]:
    """Check population eigenvalues; tell which are hidden, and how far from the variance."""
    spike = np.asarray(spike, dtype=np.float64)
    if np.any(spike <= 0):
        raise ValueError(f"spike must be positive, got {spike.min()}")
    low, high = covariance_threshold(noise)
    hidden = (spike >= low) & (spike <= high)
    return spike, hidden, np.where(hidden, 1.0, spike - noise.variance)
