"""Between the full spectrum and that of measured smaller batches, along quantiles."""

import math

import numpy as np
from numpy.typing import NDArray

from truehessian.theory.batch_spectra.base import KnownSpectra, SpectralPrediction
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.rmt import DiscreteMeasure


def _predict(known: KnownSpectra) -> DiscreteMeasure | None:
    """Move every quantile a part of the way from the full spectrum to the next smaller batches.

    The part is the one that gives the second moment, which is known: E tr H_B² = tr H² + f P² σ².
    """
    sizes = [size for size in known.smaller if size < known.batch_size]
    if not sizes:
        return None
    nearest = max(sizes)
    share = known.factor / finite_population_factor(nearest, known.num_examples)
    return displaced(known.full, known.smaller[nearest], share)


def displaced(first: DiscreteMeasure, second: DiscreteMeasure, share: float) -> DiscreteMeasure:
    """Interpolate along quantiles, to a share of the way between the second moments.

    Parameters
    ----------
    first, second
        The ends of the way; the shortest one in the sense of Wasserstein.
    share
        Of the difference of their second moments, in 0 .. 1.

    References
    ----------
    McCann (1997), Advances in Mathematics 128(1), 153-179.
    """
    masses, start, end = coupled(first, second)
    way = end - start
    linear, square = float(masses @ (start * way)), float(masses @ way**2)
    # (start + t way)² has the mean start² + 2 t linear + t² square.
    wanted = share * (2 * linear + square)
    part = share
    if square > 0 and linear**2 + square * wanted >= 0:
        part = (math.sqrt(linear**2 + square * wanted) - linear) / square
    part = part if 0 <= part <= 1 else share
    return DiscreteMeasure(start + part * way, masses)


def coupled(first: DiscreteMeasure, second: DiscreteMeasure) -> tuple[NDArray, NDArray, NDArray]:
    """Masses that lie at one node of either measure, in their order, and where they lie."""
    ends = [np.cumsum(each.weights)[:-1] for each in (first, second)]
    levels = np.concatenate([[0.0], np.sort(np.concatenate(ends)), [1.0]])
    masses, middle = np.diff(levels), (levels[1:] + levels[:-1]) / 2
    start = first.nodes[np.searchsorted(ends[0], middle)]
    return masses, start, second.nodes[np.searchsorted(ends[1], middle)]


SMALLER_BATCHES = SpectralPrediction(
    name="smaller_batches",
    label="from smaller batches",
    colour="pink",
    dashes="-",
    assumption="goes from the full spectrum along the quantiles of measured smaller batches, as "
    "far as the second moment says",
    predict=_predict,
)
