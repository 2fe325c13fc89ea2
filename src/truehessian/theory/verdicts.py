"""Judgements in words: what estimates of the true Hessian show, and whether they agree."""

import math

from truehessian.spectra.spectrum import ENDS

SIGNIFICANCE = 3.0  # standard errors from zero that a verdict asks for
INSIDE_THE_NOISE = "inside the noise, not identifiable"

_SIGNS = {1: "shows positive curvature", 0: "leaves the sign open", -1: "shows negative curvature"}


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
        What `estimates.inversion.invert` gave.
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
