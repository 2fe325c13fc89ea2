"""Noise that is alike in all directions: the full spectrum and a semicircle, added freely."""

import math

from truehessian.theory.batch_spectra.atoms import atoms_of
from truehessian.theory.batch_spectra.base import KnownSpectra, SpectralPrediction
from truehessian.theory.rmt import DiscreteMeasure, SemicircularSum


def _predict(known: KnownSpectra) -> DiscreteMeasure | None:
    """Add a semicircle of the measured variance f P σ² to the full spectrum.

    The assumption of the mini-batch and the true-Hessian paper, for the whole spectrum.
    """
    square = known.noise_variance
    return None if math.isnan(square) else semicircular(known.full, square)


def semicircular(full: DiscreteMeasure, square: float) -> DiscreteMeasure:
    """Add a free semicircle of this variance, and put the sum into atoms."""
    if square <= 0:
        return full
    law = SemicircularSum(full, math.sqrt(square))
    return atoms_of(law.cdf, *law.edges)


SEMICIRCLE = SpectralPrediction(
    name="semicircle",
    label="semicircle",
    colour="orange",
    dashes="--",
    assumption="takes the noise to be the same in all directions and adds a semicircle of its "
    "variance",
    predict=_predict,
)
