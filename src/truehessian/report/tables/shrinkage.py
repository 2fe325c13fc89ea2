"""Table of how the extremes of a Hessian depend on the number of examples.

As in `tables`, column names and their order are a contract, missing values are NaN, and every
function accepts tables read back from CSV.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from truehessian.report.tables import select
from truehessian.theory.shrinkage import fit_shrinkage

SHRINKAGE_COLUMNS = (
    "epoch", "end", "num_examples", "value", "inherent_limit", "inherent_low", "inherent_high",
    "inherent_slope", "inherent_fit", "vanishing_coefficient", "vanishing_low", "vanishing_high",
    "vanishing_fit", "better", "inherent_aicc", "vanishing_aicc", "exponent", "exponent_low",
    "exponent_high", "data", "subsets", "standard_error",
)  # fmt: skip

_ORIGINAL, _AUGMENTED = "original", "augmented"


def shrinkage(
    extremal: pd.DataFrame, subsamples: pd.DataFrame | None = None, weight_decay: float = 0.0
) -> pd.DataFrame:
    """Follow the extremal eigenvalues of the training Hessian as the sample grows.

    Parameters
    ----------
    extremal
        From `tables.extremal_ritz_values`: batches, the full data and augmented data.
    subsamples
        The same of disjoint random parts of the training data.
    weight_decay
        What the matrices have of the identity. The laws are those of the values without it, since
        noise vanishes beside the loss alone, and it is added to limits and fitted values.

    Returns
    -------
    DataFrame
        One row per epoch, end, data and number of examples, with the columns of
        `SHRINKAGE_COLUMNS`: the value (the mean over random subsets of this size), then the laws
        of `shrinkage.fit_shrinkage`, and their values at this number of examples. Augmented images
        are other `data` than the original ones and have laws of their own; those are NaN and
        "undecided" where only one number of examples was measured.
    """
    everything = extremal if subsamples is None else pd.concat([extremal, subsamples])
    hessian = select.hessians(everything)
    data = hessian["factor"].isna().map({True: _ORIGINAL, False: _AUGMENTED})
    hessian = hessian.assign(data=data)
    parts = []
    for (epoch, end), group in hessian.groupby(["epoch", "end"]):
        for kind in (_ORIGINAL, _AUGMENTED):
            part = group[group["data"] == kind]
            if part.empty:
                continue
            keys = {"epoch": epoch, "end": end, "data": kind, "better": "undecided"}
            parts.append(_with_laws(part, keys, weight_decay))
    if not parts:
        return pd.DataFrame(columns=list(SHRINKAGE_COLUMNS))
    return pd.concat(parts, ignore_index=True)


_OF_EIGENVALUES = ("inherent_limit", "inherent_low", "inherent_high")


def _with_laws(group: pd.DataFrame, keys: Mapping[str, Any], decay: float) -> pd.DataFrame:
    """Tabulate the values of one end at one epoch on one kind of data, with their laws."""
    points = group.groupby("num_examples")["value"].agg(["mean", "size", "std"]).reset_index()
    frame = pd.DataFrame(
        {
            "num_examples": points["num_examples"].astype("int64"),
            "value": points["mean"],
            "subsets": points["size"],
            "standard_error": points["std"] / np.sqrt(points["size"]),
            **keys,
        },
        columns=list(SHRINKAGE_COLUMNS),
    )
    if len(points) > 1:
        # An eigenvalue of T examples fluctuates as T^(-1/2), a mean over subsets by less. The
        # measured errors are too rough themselves to be weights.
        sizes = frame["num_examples"].to_numpy()
        errors = 1 / np.sqrt(sizes * points["size"].to_numpy())
        fit = fit_shrinkage(sizes, frame["value"].to_numpy() - decay, errors)
        laws = {key: value for key, value in fit._asdict().items() if key in frame.columns}
        laws |= {key: laws[key] + decay for key in _OF_EIGENVALUES}
        fitted = {"inherent_fit": fit.inherent(sizes), "vanishing_fit": fit.vanishing(sizes)}
        fitted = {key: values + decay for key, values in fitted.items()}
        frame = frame.assign(**laws, **fitted)
    text = ("epoch", "end", "num_examples", "better", "data", "subsets")
    numbers = [column for column in SHRINKAGE_COLUMNS if column not in text]
    return frame.astype(dict.fromkeys(numbers, "float64"))
