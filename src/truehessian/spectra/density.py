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

from truehessian.spectra.kernel import gaussian_kernel
from truehessian.spectra.spectrum import Spectrum, product_errors


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
        Shape (..., probes m), ascending along the last axis; the weights sum to 1 there. Of a stack
        whose folds differ in their numbers of nodes, the rest is NaN at weight zero.
    """
    probes, steps = spectrum.ritz_values.shape[-2:]
    shape = (*spectrum.ritz_values.shape[:-2], probes * steps)
    nodes, weights = spectrum.ritz_values.reshape(shape), spectrum.weights.reshape(shape) / probes
    order = np.argsort(nodes, axis=-1, kind="stable")  # NaN comes last
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
    seen = spectrum.weights > 0  # elsewhere there may be no value at all
    values = np.zeros_like(spectrum.ritz_values)
    values[seen] = function(spectrum.ritz_values[seen])
    return _without_grid(_over_probes(spectrum, values[..., None]))


def mean_eigenvalue(spectrum: Spectrum) -> Estimate:
    """Estimate tr A / P."""
    return mean_of(spectrum, lambda values: values)


def trace(spectrum: Spectrum) -> Estimate:
    """Estimate tr A, the sum of the eigenvalues."""
    num_params = _num_params(spectrum)
    mean, error = mean_eigenvalue(spectrum)
    return Estimate(num_params * mean, num_params * error)


def trace_by_moments(spectrum: Spectrum) -> Estimate:
    """Estimate tr A from the first two moments of all probes together.

    Parameters
    ----------
    spectrum
        A single spectrum, from standard normal probes.

    Returns
    -------
    Estimate
        The value is that of `trace`, but the sum of the eigenvalues where a probe has found all P
        of them; the error is then that of the products. Else it is the standard error of n unit
        vectors u that are uniform on the sphere, with an unbiased square. It varies less than the
        spread over few probes, and needs no second one. NaN after a single step.

    Notes
    -----
    Let V = tr A²/P - (tr A/P)² be the variance of the eigenvalues. Then Var(uᵀAu) = 2 V/(P + 2).
    Their mean m has Var(m) = 2 V/(n (P + 2)), so that E m² = (tr A/P)² + Var(m), and the mean of
    all nodes' squares less m² has the expectation V - Var(m) = V (1 - 2/(n (P + 2))).

    References
    ----------
    Magnus (1978), Statistica Neerlandica 32(4), 201-210, for E (uᵀBu)².
    """
    size, probes = _num_params(spectrum), len(spectrum.ritz_values)
    real = np.isfinite(spectrum.ritz_values)
    whole = np.flatnonzero(real.sum(-1) == size)
    if whole.size:
        error = size * product_errors(spectrum)[whole[0]]
        return Estimate(np.nansum(spectrum.ritz_values[whole[0]]), error)
    values, weights = np.where(real, spectrum.ritz_values, 0.0), spectrum.weights / probes
    mean = (weights * values).sum()
    spread = (weights * (values - mean) ** 2).sum()
    if real.shape[-1] < 2:
        spread = np.nan  # its own square is all that one step knows of A²
    share = 2 / (probes * (size + 2))  # of V, the variance of the mean
    return Estimate(size * mean, size * np.sqrt(spread * share / (1 - share)))


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
        Shape (..., G), as `kernel.spectral_density` of all probes, with pointwise errors.

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
    Szegő (1975), Orthogonal Polynomials, Sec. 3.41. Where residuals are small they are narrower:
    Davis & Kahan (1970), SIAM J. Numer. Anal. 7(1), 1-46. No bound is sharper than the precision
    of the products.
    """
    grid = np.asarray(places, dtype=float)
    estimate = _over_probes(spectrum, (spectrum.ritz_values[..., None] < grid).astype(float))
    errors = product_errors(spectrum)
    bounds = np.empty((2, *errors.shape, *grid.shape))
    for probe in np.ndindex(errors.shape):
        seen = spectrum.weights[probe] > 0  # what the probe has no part in bounds nothing
        values, weights = spectrum.ritz_values[probe][seen], spectrum.weights[probe][seen]
        counted = _by_counting(values, weights, grid, float(errors[probe]))
        low, high = _by_residuals(values, weights, grid, spectrum.residuals[probe][seen])
        bounds[(0, *probe)] = np.maximum(counted[0], low)
        bounds[(1, *probe)] = np.minimum(counted[1], high)
    low, high = bounds.mean(-2)
    return Mass(*estimate, np.minimum(low, estimate.value), np.maximum(high, estimate.value))


def _by_counting(
    nodes: NDArray, weights: NDArray, places: NDArray, error: float
) -> tuple[NDArray, NDArray]:
    """Bound the mass below places by the inequalities of Chebyshev, Markov and Stieltjes.

    They hold for the matrix that the products are exact for, whose eigenvalues are shifted by the
    error of the products at most.
    """
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    least, most = np.searchsorted(nodes, places - error), np.searchsorted(nodes, places + error)
    return sums[np.maximum(least - 1, 0)], sums[np.minimum(most + 1, len(nodes))]


def _by_residuals(
    nodes: NDArray, weights: NDArray, places: NDArray, residuals: NDArray
) -> tuple[NDArray, NDArray]:
    """Bound the mass below places by how far Ritz vectors reach across them.

    With P the projector on the eigenvalues below x, a unit vector y with (A - θ) y of norm r has
    ||(1 - P) y|| <= r / |θ - x| for θ < x, and ||P y|| as much for θ >= x. So the probe
    u = sum √w y has ||P u||² within about 2 sum √w r / |θ - x| of the weights below, if the nodes
    that may be on either side, each with its whole weight, are left open. This is narrow where
    residuals are, as after a Krylov space was exhausted.
    """
    apart, sharp = np.abs(nodes[:, None] - places), np.sqrt(weights)[:, None]
    reach = np.broadcast_to((residuals > 0)[:, None].astype(float), apart.shape).copy()
    np.divide(residuals[:, None], apart, out=reach, where=apart > residuals[:, None])
    clear = (reach < 1) & (2 * reach <= sharp)  # else it costs less to leave its weight open
    across = (sharp * reach * clear).sum(0)
    left, either = (weights @ (clear & side) for side in (nodes[:, None] < places, True))
    unclear = np.maximum(1 - either, 0)

    def least(certain: NDArray) -> NDArray:
        inside = np.maximum(certain - 2 * across * np.sqrt(unclear), 0)
        return np.maximum(np.sqrt(inside) - across, 0) ** 2

    return least(left), 1 - least(either - left)


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
    values = np.where(weights > 0, values, 0.0)
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
