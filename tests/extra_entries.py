"""Entries that a user might add to registries, each as it would stand in a file of its own."""

import numpy as np

from truehessian.theory.estimates.base import Estimator
from truehessian.theory.predictions.base import QUANTILES, Known, Predicted, Prediction


def _twice(known: Known) -> Predicted:
    value = 2 * known.eigenvalues
    further = {name: value * (0.5 + level) for name, level in QUANTILES.items()}
    return Predicted(value, value - 1, value + 1, further)


TWICE = Prediction(
    name="twice",
    label="doubling",
    marker="P",
    colour="tab:cyan",
    assumption="takes every batch for twice as sharp",
    predict=_twice,
    overlap=lambda known: np.full(len(known.eigenvalues), 0.25),
    overlap_rule="a quarter",
    further=tuple(QUANTILES),
)

HALFWAY_BACK = Estimator(
    name="halfway_back",
    label="halfway back",
    marker="X",
    colour="tab:cyan",
    estimate=lambda seen, population: (seen.value + seen.crossed) / 2,
)
