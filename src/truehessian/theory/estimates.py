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

from truehessian.spectra.spectrum import ENDS
from truehessian.theory import rmt

SIGNIFICANCE = 3.0  # standard errors from zero that a verdict asks for
ESTIMATE_CONFIDENCE = 0.9  # of the interval of an estimate
INSIDE_THE_NOISE = "inside the noise, not identifiable"

_SIGNS = {1: "shows positive curvature", 0: "leaves the sign open", -1: "shows negative curvature"}


def sampling_factor(num_examples: float, population: float | None = None) -> float:
    """Variance of a mean over n examples per unit of variance over single ones.

    Parameters
    ----------
    num_examples
        n.
    population
        N, if they were drawn without replacement from so many, at most which n may be.

    Returns
    -------
    float
        1/n - 1/N, or 1/n. The variance over single examples is the one with divisor N - 1.

    Raises
    ------
    ValueError
        Not 0 < `num_examples` <= `population`.
    """
    limit = math.inf if population is None else population
    if not 0 < num_examples <= limit:
        raise ValueError(f"num_examples must be above 0 and at most {limit}, got {num_examples}")
    return 1 / num_examples - 1 / limit


def invert(eigenvalue: ArrayLike, variance: ArrayLike, num_examples: float) -> NDArray:
    """Infer an eigenvalue of the true Hessian from the full one's.

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian, of either sign, any shape.
    variance
        V: P σ² to invert `prediction.goe`, V(u) along the Ritz vector to invert
        `prediction.directional`; broadcast against `eigenvalue`.
    num_examples
        N; the noise of the full Hessian has the factor 1/N. For a sample drawn from a finite
        population, the inverse of `sampling_factor`.

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


def identifiability(inverted: float, variance: float) -> str:
    """Say in words what `invert` found: a value, no value, or nothing to invert with.

    Parameters
    ----------
    inverted
        What `invert` gave.
    variance
        The variance that it was given; NaN if none was measured.
    """
    if math.isnan(variance):
        return "variance not measured"
    return INSIDE_THE_NOISE if math.isnan(inverted) else "identifiable"


def bracket_verdict(
    held_out: float, standard_error: float, low: float, high: float, end: str
) -> str:
    """Say how a bracket of the extreme eigenvalue goes together with a held-out quotient.

    Both the quotient and the bracket's inner end are in expectation no further out than the true
    extreme, the bracket's outer end no further in. So a quotient clearly beyond the outer end, or
    a sign clearly opposed to that of the whole bracket, contradicts it.

    Parameters
    ----------
    held_out, standard_error, end
        As for `held_out_verdict`.
    low, high
        The bracket, `low` <= `high`; NaN if there is none.

    Returns
    -------
    str
        "" without a bracket; otherwise a clause that begins with "the bracket", or with
        "CONTRADICTION" where the two cannot both be right.

    Raises
    ------
    ValueError
        `end` is unknown.
    """
    z, _ = held_out_verdict(held_out, standard_error, end)
    if math.isnan(low) or math.isnan(high):
        return ""
    outward = 1 if end == "largest" else -1
    sign = int(low > 0) - int(high < 0)  # 0 where the bracket holds zero
    if math.isnan(z):
        return f"the bracket {_SIGNS[sign]}"
    beyond = outward * held_out - max(outward * low, outward * high)
    if beyond > SIGNIFICANCE * standard_error:
        errors = beyond / standard_error
        return f"CONTRADICTION: the quotient lies {errors:.1f} standard errors outside the bracket"
    shown = int(z >= SIGNIFICANCE) - int(z <= -SIGNIFICANCE)
    if shown == sign:
        return "the bracket agrees"
    if sign == -outward and shown == outward:
        return "CONTRADICTION: the bracket lies on the other side of zero"
    if sign == outward:  # the extreme is further out than this one direction shows
        return f"the bracket {_SIGNS[sign]} along other directions"
    return f"the bracket {_SIGNS[sign]}"


class CrossValidated(NamedTuple):
    """An extreme eigenvalue corrected for its bias, which cross-validation shows.

    Attributes
    ----------
    value
        Estimate of the population's extreme eigenvalue.
    low, high
        Its interval at the confidence asked for.
    bias
        What was taken off the sample's extreme eigenvalue.
    """

    value: float
    low: float
    high: float
    bias: float


def cross_validate(
    whole: float,
    fitted_value: float,
    crossed: float,
    deviation: float,
    *,
    fitted: float,
    num_examples: int,
    population: int | None = None,
    degrees_of_freedom: float = math.inf,
    confidence: float = ESTIMATE_CONFIDENCE,
) -> CrossValidated:
    """Correct a sample's extreme eigenvalue by what cross-validation shows of its bias.

    Let u be the extreme eigenvector of the mean H_A over A examples, H_A = H + E. To second order
    in E, u_Aᵀ H_A u_A = l + s and u_Aᵀ H u_A = l - s, with one and the same s = sum over the other
    eigenvectors j of (u_jᵀ E u)² / (l - l_j), whatever the spectrum of H and the law of the noise;
    for a spike in Gaussian noise beyond the transition it is so to all orders. So half of the
    difference of the two is the bias of A examples, and the bias of n examples follows from
    E s being proportional to `sampling_factor`.

    Parameters
    ----------
    whole
        Extreme eigenvalue of the sample of n examples.
    fitted_value
        Mean extreme eigenvalue of parts of the sample of `fitted` examples each.
    crossed
        Mean quotient of the parts' eigenvectors on the examples that each has left out.
    deviation
        Standard deviation of such quotients over single examples.
    fitted
        A, examples in a part.
    num_examples
        n, examples in the sample.
    population
        N, if the sample was drawn without replacement from so many and their mean is asked for;
        by default the distribution that they come from.
    degrees_of_freedom
        Of `deviation`.
    confidence
        Of the interval: that of a mean of n independent curvatures, with a third of the bias for
        the error of its correction, which is of third order in the noise.

    Returns
    -------
    CrossValidated
        NaN where an argument is.

    Raises
    ------
    ValueError
        Not 0 < `fitted` <= `num_examples` <= `population`.
    """
    if fitted > num_examples:
        raise ValueError(f"fitted must be at most num_examples, got {fitted} and {num_examples}")
    # The quotients stand for the population's examples other than the A; its mean has both.
    share = 0.0 if population is None else fitted / population
    inside = (1 - share) * crossed + share * fitted_value
    factor = sampling_factor(num_examples, population)
    bias = (fitted_value - inside) / 2 * factor / sampling_factor(fitted, population)
    value = whole - bias
    error = math.hypot(deviation * math.sqrt(factor), bias / 3)
    half = float(stats.t.ppf((1 + confidence) / 2, degrees_of_freedom)) * error
    return CrossValidated(value, value - half, value + half, bias)
