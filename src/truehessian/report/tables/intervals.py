"""Table of how often the intervals of predictions hold the mean of batches.

The true mean over all batches of a size is not known, but its measured mean over some is, with a
standard error, which the table takes into account.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from truehessian.theory.predictions import PREDICTIONS
from truehessian.theory.predictions.base import WIDTH

COVERAGE_COLUMNS = (
    "prediction", "end", "batch_size", "cases", "coverage", "coverage_low", "coverage_high",
    "coverage_alone", "coverage_alone_expected", "widening", "half_width",
)  # fmt: skip
ALL = "all"


def prediction_coverage(
    outliers: pd.DataFrame, predictions: Iterable[str] | None = None
) -> pd.DataFrame:
    """Count how often intervals of predictions hold the true mean of batches.

    Parameters
    ----------
    outliers
        Columns end, batch_size, full, batch_mean, batch_standard_error, and for each prediction
        its own with `_low` and `_high`, the 95 % interval: `sampling.outliers` of any runs.
    predictions
        Names; by default those of the registry that have columns.

    Returns
    -------
    DataFrame
        Per prediction, end and batch size, and over "all" of either, with the columns of
        `COVERAGE_COLUMNS`, of the rows that have all numbers. `coverage` is the share of rows in
        which prediction and measured mean differ by no more than both errors together (the root
        of the sum of the squares of the half-width on the mean's side and 1.96 standard errors),
        with its own exact interval of 95 % for independent rows; rows of one network are not.
        `coverage_alone` is the share of measured means within the interval,
        `coverage_alone_expected` what it would be if the intervals were right, with Gaussian
        errors. `widening` is the factor by which half-widths would have to be multiplied to make
        `coverage` 95 %, `half_width` the median half-width as a share of the shift.
    """
    names = PREDICTIONS if predictions is None else predictions
    rows: list[dict[str, Any]] = []
    for name in names:
        if not {name, f"{name}_low", f"{name}_high"} <= set(outliers.columns):
            continue
        known = _cases(outliers, name)
        for end in (*known["end"].unique(), ALL):
            for size in (*sorted(known["batch_size"].unique()), ALL):
                chosen = known[(end == ALL) | (known["end"] == end)]
                chosen = chosen[(size == ALL) | (chosen["batch_size"] == size)]
                if len(chosen):
                    keys = {"prediction": name, "end": end, "batch_size": size}
                    rows.append(keys | _counted(chosen))
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


def _cases(outliers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Distances and half-widths of the rows that have a prediction and a measured error."""
    outliers = outliers.dropna(subset=[name, f"{name}_low", f"{name}_high"])
    value, miss = outliers[name], outliers["batch_mean"] - outliers[name]
    above, below = outliers[f"{name}_high"] - value, value - outliers[f"{name}_low"]
    frame = pd.DataFrame(
        {
            "end": outliers["end"],
            "batch_size": outliers["batch_size"],
            "miss": miss.abs(),
            "half": np.where(miss > 0, above, below),
            "error": outliers["batch_standard_error"],
            "shift": (outliers["batch_mean"] - outliers["full"]).abs(),
        }
    )
    return frame.dropna()


def _counted(cases: pd.DataFrame) -> dict[str, Any]:
    miss, half, error = (cases[column].to_numpy(float) for column in ("miss", "half", "error"))
    both = np.hypot(half, WIDTH * error)
    held = int((miss <= both).sum())
    low, high = stats.binomtest(held, len(cases)).proportion_ci()
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = np.sqrt(np.maximum(miss**2 - (WIDTH * error) ** 2, 0))
        needed = np.where(beyond > 0, beyond / half, 0.0)
        alone = np.where(both > 0, WIDTH * half / both, 0.0)
    return {
        "cases": len(cases),
        "coverage": held / len(cases),
        "coverage_low": low,
        "coverage_high": high,
        "coverage_alone": float((miss <= half).mean()),
        "coverage_alone_expected": float((2 * stats.norm.cdf(alone) - 1).mean()),
        "widening": float(np.quantile(needed, 0.95, method="inverted_cdf")),
        "half_width": float(np.median(half / cases["shift"])),
    }
