"""Curves of whole spectra of batches, predicted and measured: what figures draw."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from truehessian.report.tables.spectral import Case
from truehessian.spectra.kernel import spectral_density
from truehessian.theory.batch_spectra import distance
from truehessian.theory.rmt import DiscreteMeasure

MEASURED = "measured"
COLUMNS = (
    "batch_size", "curve", "quantity", "eigenvalue", "value", "standard_error", "bandwidth",
)  # fmt: skip
_POINTS = 161  # of each curve
# In units of the batches' standard deviation: how far densities reach and how wide their kernel
# is, and where counts begin.
_REACH, _BANDWIDTH, _FINEST = 4.0, 0.2, 0.02
LEAST = 0.3  # eigenvalues, below which a count is not drawn


def curves(cases: Iterable[Case]) -> pd.DataFrame:
    """Compute densities of the bulk, and counts up to the outermost outliers.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; `curve` is `measured`, with standard errors of the mean over folds, or
        the name of a prediction, without. Of the `quantity` "density" it is a density that is
        smoothed with a Gaussian kernel of `bandwidth`, within four standard deviations of zero; of
        "count" the number of eigenvalues at the place or farther from zero on its side.
    """
    parts = [part for case in cases for part in _of_case(case)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _of_case(case: Case) -> list[pd.DataFrame]:
    unit = distance.standard_deviation(case.batches.mean) or 1.0
    least = LEAST / case.num_parameters
    laws = [case.batches.mean, *case.predicted.values()]
    reach = max(2 * unit, *(abs(end) for law in laws for end in _ends(law, least)))
    side = np.geomspace(_FINEST * unit, 1.3 * reach, _POINTS // 2)
    far = np.concatenate([-side[::-1], side])
    near, width = unit * np.linspace(-_REACH, _REACH, _POINTS), _BANDWIDTH * unit
    folds = {MEASURED: case.batches.folds} | {k: [law] for k, law in case.predicted.items()}
    rows = []
    for name, measures in folds.items():
        common = {"batch_size": case.batch_size, "curve": name, "bandwidth": width}
        density = _mean(measures, lambda m: spectral_density(m.nodes, m.weights, near, width))
        count = _mean(measures, lambda m: case.num_parameters * beyond(m, far))
        for quantity, places, found in (("density", near, density), ("count", far, count)):
            columns = common | {"quantity": quantity, "eigenvalue": places} | found
            rows.append(pd.DataFrame(columns)[list(COLUMNS)])
    return rows


def _ends(law: DiscreteMeasure, least: float) -> tuple[float, float]:
    """Places beyond which there is less than the least mass."""
    below = np.cumsum(law.weights)
    first, last = np.searchsorted(below, [least, 1 - least])
    return float(law.nodes[first]), float(law.nodes[min(int(last), len(below) - 1)])


def beyond(law: DiscreteMeasure, places: NDArray) -> NDArray:
    """Mass at each place, shape (G,), or farther from zero on the same side."""
    above = 1 - law.cdf(np.nextafter(places, -np.inf))
    return np.where(places > 0, np.maximum(above, 0), law.cdf(places))


def _mean(
    folds: list[DiscreteMeasure], function: Callable[[DiscreteMeasure], NDArray]
) -> dict[str, NDArray]:
    values = np.array([function(fold) for fold in folds])
    errors = np.full(values.shape[1], math.nan)
    if len(values) > 1:
        errors = values.std(0, ddof=1) / math.sqrt(len(values))
    return {"value": values.mean(0), "standard_error": errors}
