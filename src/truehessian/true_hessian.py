"""Estimate the true Hessian, the mean over the data distribution, from samples.

Three ways: invert a random-matrix prediction, measure the curvature on examples that had no part
in the weights or in the direction, and correct an extreme by what cross-validation shows of its
bias. A fourth, following an eigenvalue as the sample grows, has a module of its own, `shrinkage`.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from truehessian import rmt
from truehessian.spectrum import ENDS

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
