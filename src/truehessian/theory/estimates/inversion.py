"""Estimates that invert a random-matrix prediction of what sampling adds."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory import rmt
from truehessian.theory.estimates.base import Estimator
from truehessian.theory.estimates.seen import Seen
from truehessian.theory.predictions.factor import sampling_factor


def invert(eigenvalue: ArrayLike, variance: ArrayLike, num_examples: float) -> NDArray:
    """Infer an eigenvalue of the true Hessian from the full one's.

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian, of either sign, any shape.
    variance
        V: P σ² to invert `predictions.isotropic.goe`, V(u) along the Ritz vector to invert
        `directional`; broadcast against `eigenvalue`.
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


def _inverted(seen: Seen, population: int, variance: float) -> float:
    factor = sampling_factor(seen.num_examples, population)
    return float(invert(seen.value, variance, num_examples=1 / factor))


GOE = Estimator(
    name="goe",
    label="GOE inverted",
    marker="^",
    colour="orange",
    estimate=lambda seen, population: _inverted(seen, population, seen.isotropic),
)
DIRECTIONAL = Estimator(
    name="directional",
    label="directional inverted",
    marker="s",
    colour="green",
    estimate=lambda seen, population: _inverted(seen, population, seen.directional),
)
