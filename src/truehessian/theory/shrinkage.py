"""What an extremal eigenvalue does as the sample grows: two laws, fitted and compared.

An isolated eigenvalue of the true Hessian is shifted by noise of variance proportional to 1/T,
hence in proportion to 1/T, and stays; an edge of pure noise scales as T^(-1/2) and vanishes.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.regression.linear_model import WLS

CONFIDENCE = 0.95  # of the intervals of the fitted laws
DECISIVE = 2.0  # difference of AICc from which on one law is called better


class ShrinkageFit(NamedTuple):
    """Two laws for an extremal eigenvalue l(T) measured on T examples, and a power law.

    Attributes
    ----------
    inherent_limit, inherent_low, inherent_high
        The eigenvalue l_true of the true Hessian if l(T) = l_true + a/T, with its 95 % interval.
    inherent_slope
        a, in units of the eigenvalue times examples.
    inherent_aicc
        Akaike's criterion of this law, corrected for few points; NaN below five points.
    vanishing_coefficient, vanishing_low, vanishing_high
        c if l(T) = c T^(-1/2) is all noise, with its 95 % interval.
    vanishing_aicc
        As above, of this law.
    exponent, exponent_low, exponent_high
        -a of c T^(-a) with a free, by regression of log|l| on log T, with its 95 % interval: 0 for
        a value that stays, -1/2 for one that vanishes as noise does. NaN where signs differ.
    better
        "inherent" or "vanishing", the law with the smaller AICc; "undecided" where they differ by
        less than 2, or from fewer than five values.
    """

    inherent_limit: float
    inherent_low: float
    inherent_high: float
    inherent_slope: float
    inherent_aicc: float
    vanishing_coefficient: float
    vanishing_low: float
    vanishing_high: float
    vanishing_aicc: float
    exponent: float
    exponent_low: float
    exponent_high: float
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
    """Fit the laws of `ShrinkageFit` by least squares.

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
    True-Hessian paper, Eq. 18 and Sec. 6.1. Hurvich & Tsai (1989), Biometrika 76(2), 297-307,
    for AICc.
    """
    sizes, observed, errors = _checked(num_examples, values, standard_errors)
    smallest = sizes.min()  # relative sizes keep the columns of the design alike in magnitude
    weights = errors.min() / errors
    relative = smallest / sizes
    inherent = _LinearFit(np.stack([np.ones_like(relative), relative], -1), observed, weights)
    vanishing = _LinearFit(np.sqrt(relative)[:, None], observed, weights)
    low, limit, high = inherent.interval(0)
    root = math.sqrt(smallest)
    vanishing_low, coefficient, vanishing_high = (root * bound for bound in vanishing.interval(0))
    exponent_low, exponent, exponent_high = _exponent(relative, observed, weights)
    return ShrinkageFit(
        inherent_limit=limit,
        inherent_low=low,
        inherent_high=high,
        inherent_slope=float(inherent.fit.params[1] * smallest),
        inherent_aicc=inherent.aicc(),
        vanishing_coefficient=coefficient,
        vanishing_low=vanishing_low,
        vanishing_high=vanishing_high,
        vanishing_aicc=vanishing.aicc(),
        exponent=exponent,
        exponent_low=exponent_low,
        exponent_high=exponent_high,
        better=_better(inherent.aicc() - vanishing.aicc()),
    )


class _LinearFit:
    """Weighted least squares: weights of the observations are squares of `weights`."""

    def __init__(self, design: NDArray, observed: NDArray, weights: NDArray) -> None:
        self.fit = WLS(observed, design, weights=weights**2).fit()
        # Of a fit without any error; no smaller residual means anything.
        rounding = np.finfo(float).eps ** 2 * np.sum((observed * weights) ** 2)
        self.residual = max(float(self.fit.ssr), float(rounding) or 1e-300)

    def interval(self, index: int) -> tuple[float, float, float]:
        """Lower bound, coefficient, upper bound."""
        centre = float(self.fit.params[index])
        if self.fit.df_resid == 0:
            return math.nan, centre, math.nan
        low, high = self.fit.conf_int(1 - CONFIDENCE)[index]
        return float(low), centre, float(high)

    def aicc(self) -> float:
        """Akaike's criterion with the correction for few points; the variance is a parameter."""
        parameters, points = len(self.fit.params) + 1, int(self.fit.nobs)
        if points < 5:  # the law of two coefficients has none below
            return math.nan
        correction = 2 * parameters * points / (points - parameters - 1)
        return points * math.log(self.residual / points) + correction


def _checked(
    num_examples: ArrayLike, values: ArrayLike, standard_errors: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray]:
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
    return sizes, observed, errors


def _exponent(relative: NDArray, observed: NDArray, weights: NDArray) -> tuple[float, float, float]:
    """Slope of log|l| against log T, between its bounds; NaN where the values differ in sign."""
    if not (np.all(observed > 0) or np.all(observed < 0)):
        return math.nan, math.nan, math.nan
    magnitudes = np.abs(observed)
    design = np.stack([-np.log(relative), np.ones_like(relative)], -1)
    return _LinearFit(design, np.log(magnitudes), weights * magnitudes).interval(0)


def _better(difference: float) -> str:
    if not abs(difference) >= DECISIVE:
        return "undecided"
    return "inherent" if difference < 0 else "vanishing"
