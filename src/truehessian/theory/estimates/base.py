"""What an estimator is: one entry, which the self-test's table and figure read.

A new estimator is a module with an `Estimator` and a line of the registry in `__init__`.
"""

from collections.abc import Callable
from typing import NamedTuple

from truehessian.theory.estimates.seen import Seen


class Estimator(NamedTuple):
    """One way to guess the extreme eigenvalue of a population from a sample of it.

    Attributes
    ----------
    name
        As in the registry and in tables.
    label
        In legends.
    marker, colour
        Of matplotlib; the colour may be one of `report.plots.style.COLOURS`.
    estimate
        Makes the guess from what the sample shows and the number of examples of the population;
        NaN where the sample does not tell.
    """

    name: str
    label: str
    marker: str
    colour: str
    estimate: Callable[[Seen, int], float]
