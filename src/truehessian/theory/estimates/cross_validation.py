"""Estimates that take off the bias that cross-validation within a sample shows."""

import math
from typing import NamedTuple

from scipy import stats

from truehessian.theory.estimates.base import Estimator
from truehessian.theory.estimates.seen import Seen
from truehessian.theory.predictions.factor import sampling_factor

CONFIDENCE = 0.9  # of the interval of an estimate


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
    skewness: float = math.nan,
    confidence: float = CONFIDENCE,
) -> CrossValidated:
    """Correct a sample's extreme eigenvalue by what cross-validation shows of its bias.

    Let u be the extreme eigenvector of the mean H_A over A examples, H_A = H + E. To second order
    in E, u_Aᵀ H_A u_A = l + s and u_Aᵀ H u_A = l - s, with one and the same s = sum over the other
    eigenvectors j of (u_jᵀ E u)² / (l - l_j), whatever the spectrum of H and the law of the noise;
    for a spike in Gaussian noise beyond the transition it is so to all orders. So half of the
    difference of the two is the bias of A examples, and the bias of n examples follows from
    E s being proportional to `sampling_factor`.

    The interval has two sides. Inwards, where the correction may have taken off too little: without
    a gap to the other eigenvalues the bias is of first order in the noise, and the correction has
    the part √(A/n) / 2 of it, so that (2 / √(A/n) - 1) times the correction may be left. Outwards,
    where examples that carry the eigenvalue may be missing: as much as was taken off, or half of
    that where curvatures have no tail to this side, and what the skewness of the curvatures adds to
    the quantile of a mean. Each is added to the error of a mean of n curvatures, as root of squares
    but for the last.

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
    skewness
        Of such quotients over single examples; NaN if unknown, and then nothing is added for it.
    confidence
        Of the interval, about.

    Returns
    -------
    CrossValidated
        NaN where an argument is.

    References
    ----------
    Johnson (1978), J. Am. Stat. Assoc. 73, 536-544: means of skewed distributions.

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
    quantile = float(stats.t.ppf((1 + confidence) / 2, degrees_of_freedom))
    error = deviation * math.sqrt(factor)
    outward = math.copysign(1.0, bias)
    tail = 0.0 if math.isnan(skewness) else outward * skewness
    widening = (1 + 2 * quantile**2) / 6 * tail / math.sqrt(num_examples) * error
    missing = bias if tail >= 0 else bias / 2
    left = (2 / math.sqrt(fitted / num_examples) - 1) * bias
    inwards = math.hypot(quantile * error, left)
    outwards = max(math.hypot(quantile * error, missing) + widening, quantile * error / 2)
    below, above = (inwards, outwards) if outward > 0 else (outwards, inwards)
    return CrossValidated(value, value - below, value + above, bias)


def corrected(seen: Seen, population: int) -> CrossValidated:
    """Correct what a sample shows for a finite population that it was drawn from."""
    return cross_validate(
        seen.value,
        seen.fitted_value,
        seen.crossed,
        seen.deviation,
        fitted=seen.fitted,
        num_examples=seen.num_examples,
        population=population,
        degrees_of_freedom=seen.degrees_of_freedom,
        skewness=seen.skewness,
    )


CROSS_VALIDATED = Estimator(
    name="cross_validated",
    label="cross-validated",
    marker="*",
    colour="vermillion",
    estimate=lambda seen, population: corrected(seen, population).value,
)
