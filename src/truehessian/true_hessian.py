"""Estimate the true Hessian, the mean over the data distribution, from samples.

Three ways: invert a random-matrix prediction, follow an eigenvalue as the sample grows, and
measure the curvature on examples that had no part in the weights or in the direction.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from truehessian import rmt
from truehessian.spectrum import ENDS

CONFIDENCE = 0.95  # of the intervals of the fitted laws
SIGNIFICANCE = 3.0  # standard errors from zero that a verdict asks for


def invert(eigenvalue: ArrayLike, variance: ArrayLike, num_examples: int) -> NDArray:
    """Infer an eigenvalue of the true Hessian from the full one's.

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian, of either sign, any shape.
    variance
        V: P σ² to invert `prediction.goe`, V(u) along the Ritz vector to invert
        `prediction.directional`; broadcast against `eigenvalue`.
    num_examples
        N; the noise of the full Hessian has the factor 1/N.

    Returns
    -------
    NDArray
        (l ± √(l² - 4 V/N)) / 2 with the sign of l; NaN where |l| <= 2 √(V/N): inside the noise
        the true eigenvalue is not identifiable; float64.

    Raises
    ------
    ValueError
        `num_examples` is below 1 or a `variance` is negative.

    References
    ----------
    True-Hessian paper, Eq. 18, solved for the true eigenvalue.
    """
    variance = np.asarray(variance, dtype=np.float64)
    if num_examples < 1:
        raise ValueError(f"num_examples must be at least 1, got {num_examples}")
    if np.any(variance < 0):
        raise ValueError(f"variance must be at least 0, got {variance.min()}")
    return rmt.spike_of_outlier(eigenvalue, np.sqrt(variance / num_examples))


class ShrinkageFit(NamedTuple):
    """Two laws for an extremal eigenvalue l(T) measured on T examples.

    Attributes
    ----------
    inherent_limit, inherent_low, inherent_high
        The eigenvalue l_true of the true Hessian if l(T) = l_true + a/T, with its 95 % interval.
    inherent_slope
        a, in units of the eigenvalue times examples.
    inherent_residual
        Weighted residual sum of squares of this law.
    vanishing_coefficient, vanishing_low, vanishing_high
        c if l(T) = c T^(-1/2) is all noise, with its 95 % interval.
    vanishing_residual
        Weighted residual sum of squares of this law.
    better
        "inherent" or "vanishing", the law with the smaller residual variance per degree of
        freedom; "undecided" from fewer than three values.
    """

    inherent_limit: float
    inherent_low: float
    inherent_high: float
    inherent_slope: float
    inherent_residual: float
    vanishing_coefficient: float
    vanishing_low: float
    vanishing_high: float
    vanishing_residual: float
    better: str

    def inherent(self, num_examples: ArrayLike) -> NDArray:
        """Values of the inherent law at T = `num_examples`, same shape."""
        return self.inherent_limit + self.inherent_slope / np.asarray(num_examples, np.float64)

    def vanishing(self, num_examples: ArrayLike) -> NDArray:
        """Values of the vanishing law at T = `num_examples`, same shape."""
        return self.vanishing_coefficient / np.sqrt(np.asarray(num_examples, np.float64))


def fit_shrinkage(
    num_examples: ArrayLike, values: ArrayLike, standard_errors: ArrayLike | None = None
) -> ShrinkageFit:
    """Fit both laws of `ShrinkageFit` by least squares.

    An isolated eigenvalue of the true Hessian is shifted by noise of variance proportional to
    1/T, hence in proportion to 1/T; an edge of pure noise scales as T^(-1/2).

    Parameters
    ----------
    num_examples
        T, shape (n,), at least two different sizes.
    values
        Extremal eigenvalues, shape (n,).
    standard_errors
        Of the values, shape (n,), positive; alike for all if not given. Only their ratios
        count: the residuals set the width of the intervals.

    Returns
    -------
    ShrinkageFit
        Intervals from Student's t distribution; NaN where no degree of freedom is left.

    Raises
    ------
    ValueError
        Fewer than two different sizes, shapes that differ, or a size or standard error that is
        not positive.

    References
    ----------
    True-Hessian paper, Eq. 18 and Sec. 6.1.
    """
    sizes = np.asarray(num_examples, dtype=np.float64)
    observed = np.asarray(values, dtype=np.float64)
    errors = np.ones_like(sizes) if standard_errors is None else np.asarray(standard_errors, float)
    if sizes.ndim != 1 or not sizes.shape == observed.shape == errors.shape:
        raise ValueError(
            f"shapes must be alike, got num_examples {sizes.shape}, values {observed.shape}, "
            f"standard_errors {errors.shape}"
        )
    if not (np.all(sizes > 0) and np.all(errors > 0)):
        raise ValueError("num_examples and standard_errors must be positive")
    if len(np.unique(sizes)) < 2:
        raise ValueError(f"num_examples must hold two different sizes, got {np.unique(sizes)}")

    smallest = sizes.min()  # relative sizes keep the columns of the design alike in magnitude
    weights = errors.min() / errors
    relative = smallest / sizes
    inherent = _fit_linear(np.stack([np.ones_like(relative), relative], -1), observed, weights)
    vanishing = _fit_linear(np.sqrt(relative)[:, None], observed, weights)
    low, limit, high = inherent.interval(0)
    root = math.sqrt(smallest)
    vanishing_low, coefficient, vanishing_high = (root * bound for bound in vanishing.interval(0))
    return ShrinkageFit(
        inherent_limit=limit,
        inherent_low=low,
        inherent_high=high,
        inherent_slope=float(inherent.coefficients[1] * smallest),
        inherent_residual=inherent.residual,
        vanishing_coefficient=coefficient,
        vanishing_low=vanishing_low,
        vanishing_high=vanishing_high,
        vanishing_residual=vanishing.residual,
        better=_better(inherent, vanishing),
    )


class _LinearFit(NamedTuple):
    coefficients: NDArray
    inverse_gram: NDArray
    residual: float
    degrees_of_freedom: int

    def interval(self, index: int) -> tuple[float, float, float]:
        """Lower bound, coefficient, upper bound."""
        centre = float(self.coefficients[index])
        if self.degrees_of_freedom == 0:
            return math.nan, centre, math.nan
        variance = self.residual / self.degrees_of_freedom * self.inverse_gram[index, index]
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees_of_freedom)
        half = float(quantile * math.sqrt(variance))
        return centre - half, centre, centre + half


def _fit_linear(design: NDArray, observed: NDArray, weights: NDArray) -> _LinearFit:
    weighted = design * weights[:, None]
    coefficients = np.linalg.lstsq(weighted, observed * weights)[0]
    residuals = (observed - design @ coefficients) * weights
    return _LinearFit(
        coefficients,
        np.linalg.inv(weighted.T @ weighted),
        float(residuals @ residuals),
        len(observed) - design.shape[1],
    )


def _better(inherent: _LinearFit, vanishing: _LinearFit) -> str:
    if inherent.degrees_of_freedom == 0:
        return "undecided"
    per_degree = inherent.residual / inherent.degrees_of_freedom
    return (
        "inherent"
        if per_degree < vanishing.residual / vanishing.degrees_of_freedom
        else "vanishing"
    )


def held_out_verdict(held_out: float, standard_error: float, end: str) -> tuple[float, str]:
    """Judge the true Hessian's curvature along a direction from examples held out of it.

    uᵀ H u on examples that neither trained the weights nor produced u is an unbiased estimate
    of uᵀ H_true u. Many standard errors below zero, it proves that the true Hessian has a
    negative eigenvalue; no random-matrix assumption enters.

    Parameters
    ----------
    held_out
        The held-out quotient uᵀ H u.
    standard_error
        Of `held_out`, over examples.
    end
        "largest" or "smallest": the end of the training Hessian's spectrum that u belongs to.

    Returns
    -------
    z : float
        `held_out` in standard errors; NaN if either is missing or the error is not positive.
    verdict : str
        In words, with z; a sign counts as shown from 3 standard errors on.

    Raises
    ------
    ValueError
        `end` is unknown.
    """
    if end not in ENDS:
        raise ValueError(f"end must be one of {ENDS}, got {end!r}")
    if math.isnan(held_out) or not standard_error > 0:
        return math.nan, "no held-out estimate"
    z = held_out / standard_error
    if abs(z) < SIGNIFICANCE:
        words = "not distinguishable from zero"
    elif end == "smallest":
        words = "negative curvature is inherent" if z < 0 else "no negative curvature here"
    else:
        words = "positive curvature confirmed" if z > 0 else "no positive curvature here"
    return z, f"{words} (z = {z:.1f})"
