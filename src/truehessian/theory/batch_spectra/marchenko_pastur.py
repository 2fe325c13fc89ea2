"""Noise of three moments: the full spectrum and a shifted Marchenko-Pastur law, added freely."""

import math

from truehessian.theory.batch_spectra.atoms import atoms_of
from truehessian.theory.batch_spectra.base import KnownSpectra, SpectralPrediction
from truehessian.theory.batch_spectra.semicircle import semicircular
from truehessian.theory.rmt import DiscreteMeasure, FreeSum, MarchenkoPastur

_OFFSET = 2e-6  # of the width, as of `FreeSum`
_LEAST_SKEWNESS = 1e-3  # below which the law is a semicircle to six digits


def _predict(known: KnownSpectra) -> DiscreteMeasure | None:
    """Add a law of variance f P σ² and of the measured noise's skewness, centred.

    A Marchenko-Pastur law of ratio c and variance v has the central moments c v² and c² v³, so that
    c is the squared skewness. A negative skewness is met by the mirrored law.
    """
    square, skewness = known.noise_variance, _skewness(known.noise)
    if not (square > 0 and math.isfinite(skewness)):
        return None
    if abs(skewness) < _LEAST_SKEWNESS:
        return semicircular(known.full, square)
    law = MarchenkoPastur(skewness**2, math.sqrt(square) / abs(skewness))
    sign = math.copysign(1.0, skewness)
    shifted = DiscreteMeasure(sign * known.full.nodes - law.variance, known.full.weights)
    found = free_sum(shifted, law)
    return DiscreteMeasure(sign * found.nodes, found.weights)


def free_sum(first: DiscreteMeasure, second: DiscreteMeasure | MarchenkoPastur) -> DiscreteMeasure:
    """Add two laws freely, and put the sum into atoms."""
    law = FreeSum(first, second, _OFFSET)
    ends = [*second.edges, *second.atoms[0]]
    low, high = first.edges[0] + min(ends), first.edges[1] + max(ends)
    return atoms_of(law.cdf, low, high)


def _skewness(noise: DiscreteMeasure | None) -> float:
    if noise is None:
        return math.nan
    centred = noise.nodes - noise.moment(1)
    second = float(noise.weights @ centred**2)
    return float(noise.weights @ centred**3) / second**1.5 if second > 0 else math.nan


MARCHENKO_PASTUR = SpectralPrediction(
    name="marchenko_pastur",
    label="Marchenko-Pastur",
    colour="vermillion",
    dashes="--",
    assumption="takes the noise to be the same in all directions and adds a shifted "
    "Marchenko-Pastur law of its first three moments",
    predict=_predict,
)
