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
    confidence: float = CONFIDENCE,
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
    )


CROSS_VALIDATED = Estimator(
    name="cross_validated",
    label="cross-validated",
    marker="*",
    colour="vermillion",
    estimate=lambda seen, population: corrected(seen, population).value,
)
