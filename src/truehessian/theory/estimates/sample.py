"""Estimates that are what a sample shows, or lie on a line through it."""

from truehessian.theory.estimates.base import Estimator
from truehessian.theory.estimates.seen import Seen
from truehessian.theory.predictions.factor import sampling_factor


def _extrapolated(seen: Seen, population: int) -> float:
    """Follow the line in the sampling factor through the folds and the sample to the population."""
    factor = sampling_factor(seen.num_examples, population)
    lever = factor / (sampling_factor(seen.fitted, population) - factor)
    return seen.value - lever * (seen.fitted_value - seen.value)


NAIVE = Estimator("naive", "naive", "D", "black", lambda seen, population: seen.value)
HELD_OUT = Estimator("held_out", "held out", "o", "blue", lambda seen, population: seen.crossed)
EXTRAPOLATED = Estimator("extrapolated", "extrapolated", "v", "pink", _extrapolated)
