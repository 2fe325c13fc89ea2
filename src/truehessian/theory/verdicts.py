"""One judgement in words of each extreme eigenvalue of the true Hessian, from all estimates of it.

The estimates answer different questions. The cross-validated one, with an interval, is of the
eigenvalue itself. The held-out quotient along the training data's Ritz vector is of one direction:
no eigenvalue lies less far out, many may lie farther. A bracket holds the eigenvalue in expectation
and has no interval. An inverted prediction takes the weights for independent of the examples. So
they may differ without any being wrong, and what is said of the eigenvalue is said once.
"""

import math
from typing import NamedTuple

from truehessian.spectra.spectrum import ENDS

SIGNIFICANCE = 3.0  # standard errors that a quotient has to lie away from zero to show its sign
FEW = 30  # examples that carry an eigenvalue, below which their mean is hardly a Gaussian one
INSIDE_THE_NOISE = "inside the noise, not identifiable"
CONTRADICTION = "CONTRADICTION"
SIGNS = {1: "positive", 0: "open", -1: "negative"}
OPENINGS = {
    ("largest", "positive"): "positive curvature confirmed",
    ("largest", "negative"): "no positive curvature",
    ("smallest", "negative"): "negative curvature is inherent",
    ("smallest", "positive"): "no negative curvature",
    ("largest", "open"): "the sign is open",
    ("smallest", "open"): "the sign is open",
}


class Evidence(NamedTuple):
    """What is known of one eigenvalue of the true Hessian; NaN for what is not.

    Attributes
    ----------
    end, rank
        Which eigenvalue: "largest" or "smallest", and its place from the outermost inwards, from 1.
    empirical
        Eigenvalue of the training data's Hessian.
    held_out, held_out_standard_error
        Quotient of its Ritz vector on examples that neither trained the weights nor produced it.
    bracket_low, bracket_high
        From disjoint folds of such examples, ascending.
    cross_validated, cross_validated_low, cross_validated_high
        Estimate from such examples, with its interval.
    inverted, variance
        What inverting the directional prediction gave, and the variance that it was given.
    test
        Eigenvalue of the Hessian of all such examples.
    effective_examples, num_examples
        How many of how many examples carry the eigenvalue, of those that the estimate is made from.
    """

    end: str
    rank: int = 1
    empirical: float = math.nan
    held_out: float = math.nan
    held_out_standard_error: float = math.nan
    bracket_low: float = math.nan
    bracket_high: float = math.nan
    cross_validated: float = math.nan
    cross_validated_low: float = math.nan
    cross_validated_high: float = math.nan
    inverted: float = math.nan
    variance: float = math.nan
    test: float = math.nan
    effective_examples: float = math.nan
    num_examples: float = math.nan


class Verdict(NamedTuple):
    """What is said of one eigenvalue of the true Hessian.

    Attributes
    ----------
    value, low, high
        Estimate and interval; NaN where there is none, or no bound on that side. The estimate lies
        within the interval.
    sign
        "positive" or "negative" where the interval lies on one side of zero, else "open".
    words
        The sign in words, the numbers, and what the training data's vector says of it.
    disagreements
        Which of the other estimates do not go together with the interval or the sign, and why;
        "" where all do.
    """

    value: float
    low: float
    high: float
    sign: str
    words: str
    disagreements: str


def judge(evidence: Evidence) -> Verdict:
    """Make one verdict of all estimates of an eigenvalue.

    The interval is the cross-validated one. Of the outermost eigenvalue it begins no less far out
    than three standard errors inwards of the held-out quotient, because no direction has more
    curvature than it. Where that lies beyond the whole interval the two contradict each other: the
    verdict says so, and its interval holds both. Without a cross-validated estimate the quotient
    is a bound on one side.

    Raises
    ------
    ValueError
        The end is unknown.
    """
    if evidence.end not in ENDS:
        raise ValueError(f"end must be one of {ENDS}, got {evidence.end!r}")
    outward = 1 if evidence.end == "largest" else -1
    value, inner, outer, is_contradicted = _interval(evidence, outward)
    low, high = (inner, outer) if outward > 0 else (-outer, -inner)
    sign = sign_of_interval(low, high)
    result = Verdict(outward * value, low, high, sign, "", "")
    words = [_opening(evidence, result), _along_the_vector(evidence, sign, SIGNS[outward])]
    if is_contradicted:
        words.append(
            f"{CONTRADICTION}: the quotient along the training data's vector lies beyond the "
            "cross-validated interval"
        )
    words.append(carried_by(evidence.effective_examples, evidence.num_examples))
    clauses = [
        _of_bracket(evidence, result),
        _of_inversion(evidence, result),
        _of_value("the training data's own value", evidence.empirical, result, _FITTED),
        _of_value("the test split's own value", evidence.test, result, _OUTWARD),
    ]
    return result._replace(
        words="; ".join(filter(None, words)), disagreements="; ".join(filter(None, clauses))
    )


_FITTED = "the weights are fitted to these examples, and sampling moves extremes outward"
_OUTWARD = "sampling moves extremes outward"


def _interval(evidence: Evidence, outward: int) -> tuple[float, float, float, bool]:
    """Estimate and both bounds, counted outwards, and whether quotient and interval contradict."""
    value, *both = (
        outward * number
        for number in (
            evidence.cross_validated,
            evidence.cross_validated_low,
            evidence.cross_validated_high,
        )
    )
    inner, outer = sorted(both)
    z = z_of(evidence)
    if evidence.rank > 1 or math.isnan(z):
        return value, inner, outer, False
    reach = SIGNIFICANCE * evidence.held_out_standard_error
    bound = outward * evidence.held_out - reach
    if math.isnan(value):
        return math.nan, bound, math.nan, False
    if bound > outer:
        return value, inner, bound + 2 * reach, True
    return max(value, bound), max(inner, bound), outer, False


def sign_of_interval(low: float, high: float) -> str:
    """Name the sign of all numbers in an interval; a missing bound is none."""
    return SIGNS[int(low > 0) - int(high < 0)]


def z_of(evidence: Evidence) -> float:
    """Give the held-out quotient in standard errors; NaN if either is missing, or is no error."""
    if math.isnan(evidence.held_out) or not evidence.held_out_standard_error > 0:
        return math.nan
    return evidence.held_out / evidence.held_out_standard_error


def _opening(evidence: Evidence, verdict: Verdict) -> str:
    low, high = (math.isnan(bound) for bound in (verdict.low, verdict.high))
    if low and high:
        return "no estimate from examples that the weights have not seen"
    words = OPENINGS[evidence.end, verdict.sign]
    if low or high:
        bound = f"at most {verdict.high:.3g}" if low else f"at least {verdict.low:.3g}"
        return f"{words}: {bound}"
    return f"{words}: {verdict.value:.3g} ({verdict.low:.3g} to {verdict.high:.3g})"


def _along_the_vector(evidence: Evidence, sign: str, outward: str) -> str:
    """Say what the training data's vector shows, and how the sign of the eigenvalue goes with it.

    Curvature of the outward sign along any direction is that of the outermost eigenvalue, and it
    may be there where this one direction has none.
    """
    z = z_of(evidence)
    if math.isnan(z):
        return ""
    reach = SIGNIFICANCE * evidence.held_out_standard_error
    shown = sign_of_interval(evidence.held_out - reach, evidence.held_out + reach)
    vector = "the training data's vector"
    if shown == sign:
        return f"{vector} {'leaves it open' if sign == 'open' else 'shows it'} too (z = {z:.1f})"
    others = f", along others {sign}" if sign == outward else ""
    if shown == "open":
        return f"along {vector} the sign is not known (z = {z:.1f}){others}"
    return f"along {vector} curvature is {shown} (z = {z:.1f}){others}"


def carried_by(effective: float, num_examples: float) -> str:
    """Say that few examples carry an eigenvalue; "" where it is many, or not known."""
    if not effective < FEW:
        return ""
    number = max(round(effective), 1)
    return f"few examples carry this eigenvalue (about {number} of {num_examples:,.0f})"


def _of_bracket(evidence: Evidence, verdict: Verdict) -> str:
    low, high = evidence.bracket_low, evidence.bracket_high
    if math.isnan(low) or math.isnan(high):
        return ""
    bracket = f"the bracket ({low:.3g} to {high:.3g})"
    sign = sign_of_interval(low, high)
    if low > verdict.high or high < verdict.low:
        return f"{bracket} lies beside the interval: it holds the value in expectation only"
    if sign == verdict.sign:
        return ""
    if sign == "open":
        return f"{bracket} holds zero: it is as wide as its folds are small"
    return f"{bracket} is {sign}, but holds the value in expectation only"


def _of_inversion(evidence: Evidence, verdict: Verdict) -> str:
    if math.isnan(evidence.inverted):
        inside = evidence.variance >= 0  # not where it was not measured
        return "inversion cannot tell: the training value is inside the noise" if inside else ""
    reason = "it takes the weights for independent of the examples"
    return _of_value("the inverted prediction", evidence.inverted, verdict, reason)


def _of_value(name: str, value: float, verdict: Verdict, reason: str) -> str:
    if value < verdict.low:
        return f"{name} ({value:.3g}) lies below: {reason}"
    if value > verdict.high:
        return f"{name} ({value:.3g}) lies above: {reason}"
    return ""


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
