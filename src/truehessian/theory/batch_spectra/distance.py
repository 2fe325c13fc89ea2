"""How far two spectra are apart as measures, and what they have in numbers."""

import math

import numpy as np
from scipy import stats

from truehessian.theory.rmt import DiscreteMeasure, kolmogorov_distance


def wasserstein(first: DiscreteMeasure, second: DiscreteMeasure) -> float:
    """Measure Wasserstein's distance of first order: how far mass has to be moved on average.

    The area between the two distribution functions, in the unit of the nodes. It bounds the
    difference of the means of every function whose slope is at most 1.

    References
    ----------
    Vallender (1974), Theory of Probability & Its Applications 18(4), 784-786.
    """
    distance = stats.wasserstein_distance(
        first.nodes, second.nodes, u_weights=first.weights, v_weights=second.weights
    )
    return float(distance)


def kolmogorov(first: DiscreteMeasure, second: DiscreteMeasure) -> float:
    """Measure the largest difference of the distribution functions, between 0 and 1.

    Of two measures made of atoms it compares the heights of jumps: an atom that is off by rounding
    counts as much as one that is not there.
    """
    return kolmogorov_distance(first, second)


def standard_deviation(measure: DiscreteMeasure) -> float:
    """Root of the second moment about the mean."""
    mean = measure.moment(1)
    return math.sqrt(measure.weights @ (measure.nodes - mean) ** 2)


def mass_below(measure: DiscreteMeasure, place: float) -> float:
    """Mass strictly below a place."""
    return float(measure.weights[measure.nodes < place].sum())


def mass_beyond(measure: DiscreteMeasure, edge: float) -> float:
    """Mass at distances from zero that exceed an edge, on both sides."""
    return float(measure.weights[np.abs(measure.nodes) > edge].sum())


def averaged(measures: list[DiscreteMeasure]) -> DiscreteMeasure:
    """Average measures, all with the same weight."""
    nodes = np.concatenate([each.nodes for each in measures])
    weights = np.concatenate([each.weights for each in measures])
    return DiscreteMeasure(nodes, weights / len(measures))
