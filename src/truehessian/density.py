"""What a spectrum tells beyond its extremes: density, counts, trace and norm, with errors.

Each probe sees the measure sum_i (q_iᵀ u)² δ(λ - λ_i) of its own unit vector u; the mean over
probes is the spectral distribution. Errors stated here are those of having few probes. What m
nodes per probe leave open is nothing for polynomials of degree below 2m, little for a density whose
bandwidth exceeds the distance of the nodes, and bracketed for counts.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.spectrum import Spectrum, gaussian_kernel


class Estimate(NamedTuple):
    """A value with the standard error that comes from the probes being random.

    Attributes
    ----------
    value, standard_error
        Shape (...), that of the spectrum without probes and steps, or (..., G).
    """

    value: NDArray
    standard_error: NDArray


class Mass(NamedTuple):
    """Mass below a place, or the number of eigenvalues there.

    Attributes
    ----------
    value, standard_error
        Shape (..., G); the error is that of having few probes.
    low, high
        Bounds on what these very probes would give with all steps, same shape. Far apart around a
        place where many eigenvalues lie that one Ritz value stands for.
    """

    value: NDArray
    standard_error: NDArray
    low: NDArray
    high: NDArray


def pooled(spectrum: Spectrum) -> tuple[NDArray, NDArray]:
    """Put the nodes of all probes into one measure, the mean of theirs.

    Returns
    -------
    nodes, weights
        Shape (..., probes m), ascending along the last axis; the weights sum to 1 there.
    """
    probes, steps = spectrum.ritz_values.shape[-2:]
    shape = (*spectrum.ritz_values.shape[:-2], probes * steps)
    nodes, weights = spectrum.ritz_values.reshape(shape), spectrum.weights.reshape(shape) / probes
    order = np.argsort(nodes, axis=-1, kind="stable")
    return np.take_along_axis(nodes, order, -1), np.take_along_axis(weights, order, -1)


def mean_of(spectrum: Spectrum, function: Callable[[NDArray], NDArray]) -> Estimate:
    """Estimate the mean of a function over the eigenvalues, tr f(A) / P.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds, from standard normal probes.
    function
        Elementwise; with m steps the probe's own average of a polynomial is exact below degree 2m.

    Returns
    -------
    Estimate
        With two probes or more, the standard error over probes. With one, that of a unit vector
        uniform on the sphere, sqrt(2 (tr f²/P - (tr f/P)²) / (P + 2)), with the traces as measured;
        rough where a few eigenvalues dominate, since the probe sees each with a chi-squared weight.

    References
    ----------
    Ubaru, Chen & Saad (2017), SIAM J. Matrix Anal. Appl. 38(4), 1075-1099; Avron & Toledo (2011),
    J. ACM 58(2), for the estimator. E (uᵀBu)² = (2 tr B² + (tr B)²) / (P (P + 2)): Magnus (1978),
    Statistica Neerlandica 32(4), 201-210.
    """
    return _without_grid(_over_probes(spectrum, function(spectrum.ritz_values)[..., None]))


def mean_eigenvalue(spectrum: Spectrum) -> Estimate:
    """Estimate tr A / P."""
    return mean_of(spectrum, lambda values: values)


def trace(spectrum: Spectrum) -> Estimate:
    """Estimate tr A, the sum of the eigenvalues."""
    num_params = _num_params(spectrum)
    mean, error = mean_eigenvalue(spectrum)
    return Estimate(num_params * mean, num_params * error)


def frobenius_norm(spectrum: Spectrum) -> Estimate:
    """Estimate sqrt(tr A²), the root of the sum of squared eigenvalues; two steps are enough.

    The standard error is that of the sum, carried over by the derivative of the root.
    """
    num_params = _num_params(spectrum)
    mean, error = mean_of(spectrum, np.square)
    norm = np.sqrt(num_params * mean)
    relative = np.divide(error, 2 * mean, out=np.zeros_like(mean), where=mean > 0)
    return Estimate(norm, norm * relative)


def smoothed(spectrum: Spectrum, grid: NDArray, bandwidth: float) -> Estimate:
    """Estimate the spectral density, smoothed with a Gaussian kernel.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds.
    grid
        Where to evaluate, shape (G,), in units of the eigenvalues.
    bandwidth
        Standard deviation of the kernel, same units.

    Returns
    -------
    Estimate
        Shape (..., G), as `spectrum.spectral_density` of all probes, with pointwise errors.

    Raises
    ------
    ValueError
        `bandwidth` is not positive.
    """
    return _over_probes(spectrum, gaussian_kernel(spectrum.ritz_values, grid, bandwidth))


def mass_below(spectrum: Spectrum, places: ArrayLike) -> Mass:
    """Estimate the share of eigenvalues below each place.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds.
    places
        Shape (G,), in units of the eigenvalues.

    References
    ----------
    The bounds are the inequalities of Chebyshev, Markov and Stieltjes: the mass of a probe's own
    measure below its k-th node lies between the sums of its first k - 1 and its first k weights.
    Szegő (1975), Orthogonal Polynomials, Sec. 3.41.
    """
    below = spectrum.ritz_values[..., None] < np.asarray(places, dtype=float)  # (.., probes, m, G)
    estimate = _over_probes(spectrum, below.astype(float))
    first, last = np.ones_like(below[..., :1, :]), np.zeros_like(below[..., :1, :])
    next_below = np.concatenate([below[..., 1:, :], last], axis=-2)
    previous_below = np.concatenate([first, below[..., :-1, :]], axis=-2)
    # Where a Krylov space was exhausted, the nodes are all that the probe's measure has.
    exact = (spectrum.residuals == 0).all(-1)[..., None, None]
    low = _over_probes(spectrum, np.where(exact, below, next_below & below)).value
    high = _over_probes(spectrum, np.where(exact, below, previous_below)).value
    return Mass(*estimate, low, high)


def counts_below(spectrum: Spectrum, places: ArrayLike) -> Mass:
    """Estimate the number of eigenvalues below each place, P times the mass there."""
    num_params = _num_params(spectrum)
    return Mass(*(num_params * part for part in mass_below(spectrum, places)))


def negative_weight(spectrum: Spectrum) -> Mass:
    """Estimate the share of negative eigenvalues; values without a grid's axis.

    Where most eigenvalues are close to zero, the sign of a single Ritz value decides on their
    weight: look at the bounds, or count below a place that is clearly negative.
    """
    return Mass(*(part[..., 0] for part in mass_below(spectrum, [0.0])))


def _over_probes(spectrum: Spectrum, values: NDArray) -> Estimate:
    """Average values at the nodes, shape (..., probes, m, G), over weights and probes."""
    weights = spectrum.weights[..., None]
    each = (weights * values).sum(-2)  # (..., probes, G)
    mean, probes = each.mean(-2), each.shape[-2]
    if probes > 1:
        return Estimate(mean, each.std(-2, ddof=1) / math.sqrt(probes))
    variance = (weights * (values - mean[..., None, None, :]) ** 2).sum((-3, -2))
    return Estimate(mean, np.sqrt(2 * variance / (_num_params(spectrum) + 2)))


def _without_grid(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value[..., 0], estimate.standard_error[..., 0])


def _num_params(spectrum: Spectrum) -> int:
    return int(spectrum.metadata["num_parameters"])
