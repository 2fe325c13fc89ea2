"""Measured spectra of batches as measures: their mean, numbers with errors, and a floor."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from truehessian.spectra import spectrum
from truehessian.spectra.resolved import resolved
from truehessian.spectra.spectrum import Spectrum
from truehessian.theory.batch_spectra import distance
from truehessian.theory.rmt import DiscreteMeasure


class Number(NamedTuple):
    """A mean over folds and its standard error; NaN with a single fold."""

    value: float
    standard_error: float


class MeasuredSpectra(NamedTuple):
    """Spectra of batches of one size.

    Attributes
    ----------
    folds
        A measure for each batch.
    mean
        Their mean: the spectral distribution of batches.
    floor
        Wasserstein's distance between the means of every other fold and of those between, below
        which no prediction can be told from the truth; NaN with a single fold. The mean of all
        folds is about half as far from that of all batches.
    """

    folds: list[DiscreteMeasure]
    mean: DiscreteMeasure
    floor: float

    def number(self, function: Callable[[DiscreteMeasure], float]) -> Number:
        """Average a function of a spectrum over the folds."""
        values = np.array([function(fold) for fold in self.folds])
        error = math.nan
        if len(values) > 1:
            error = float(values.std(ddof=1)) / math.sqrt(len(values))
        return Number(float(values.mean()), error)


def measure_of(single: Spectrum, shift: float = 0.0) -> DiscreteMeasure:
    """Put all probes of a single spectrum into one measure, with resolved eigenvalues as such.

    `shift` is added to the eigenvalues, such as minus a weight decay.
    """
    nodes, weights = spectrum.nodes(resolved(single))
    return DiscreteMeasure(nodes + shift, weights)


def of_batches(stack: Spectrum, shift: float = 0.0) -> MeasuredSpectra:
    """Take the spectra of folds as measures."""
    folds = [measure_of(spectrum.fold(stack, k), shift) for k in range(len(stack.ritz_values))]
    floor = math.nan
    if len(folds) > 1:
        halves = (distance.averaged(folds[::2]), distance.averaged(folds[1::2]))
        floor = distance.wasserstein(*halves)
    return MeasuredSpectra(folds, distance.averaged(folds), floor)
