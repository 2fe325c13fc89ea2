"""What a sample shows of one end of its spectrum: measured once, used by estimators.

A module of its own, because the measurement is expensive and must not depend on what estimators
make of it.
"""

import math
from typing import NamedTuple


class Seen(NamedTuple):
    """What a sample of n examples shows of one end of its spectrum.

    Attributes
    ----------
    num_examples, fitted
        n, and how many examples a fold leaves for its Ritz vector.
    value
        Extreme eigenvalue of the sample.
    isotropic, directional
        V along a random direction and along the Ritz vector.
    fitted_value, crossed, deviation, degrees_of_freedom
        As for `cross_validation.cross_validate`.
    skewness
        Of those quotients over single examples; NaN if unknown.
    """

    num_examples: int
    fitted: int
    value: float
    isotropic: float
    directional: float
    fitted_value: float
    crossed: float
    deviation: float
    degrees_of_freedom: int
    skewness: float = math.nan
