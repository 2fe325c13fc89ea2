"""Tables of extremes side by side: by the number of examples, of batches, of normalisations.

As in `tables`, column names and their order are a contract, missing values are NaN, and every
function accepts tables read back from CSV.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from truehessian.report.tables import select
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum
from truehessian.theory.estimates.inversion import invert
from truehessian.theory.predictions import PREDICTIONS, isotropic
from truehessian.theory.predictions.factor import sampling_factor

AUGMENTATION_COLUMNS = (
    "epoch", "end", "factor", "num_examples", "steps", "value", "residual", "ratio",
    "ratio_of_noise", "goe",
)  # fmt: skip
_FIRST = ("goe", "directional", "subspace")  # predictions; further ones come last
_OF_EPOCH = ("isotropic_variance", "isotropic_standard_error", "element_variance")
_MEASURED = (
    "epoch", "batch_size", "end", "full", "batch_mean", "batch_standard_error", "folds", "weyl",
)  # fmt: skip
BATCHNORM_COLUMNS = (
    "epoch", "chunk_size", "end", "running", "running_residual", "batch", "batch_residual",
    "ratio", "num_examples",
)  # fmt: skip


def augmentation(
    extremal: pd.DataFrame, variance: pd.DataFrame | None = None, weight_decay: float = 0.0
) -> pd.DataFrame:
    """Follow the extremes of the training Hessian from the data set to augmented ones.

    Parameters
    ----------
    extremal
        From `tables.extremal_ritz_values`: the full data and augmented data.
    variance
        As for `sampling.outliers`; without it there is no column `goe`, but NaN.
    weight_decay
        What the matrices have of the identity; ratios are of the values without it.

    Returns
    -------
    DataFrame
        One row per epoch, end and factor (1: no augmentation) with the columns of
        `AUGMENTATION_COLUMNS`. `ratio` is to the value without augmentation, `ratio_of_noise`
        what it would be for an eigenvalue that is pure noise, 1/√factor. `goe` takes every image
        for an independent example: it removes from the value of factor 1 what sampling adds, and
        adds that of so many examples; NaN where the eigenvalue lies inside the noise.

    References
    ----------
    True-Hessian paper, Tables 1 to 3 and Eq. 18.
    """
    chosen = select.hessians(extremal)
    chosen = chosen[chosen["batch_size"].isna()]
    chosen = chosen.assign(factor=chosen["factor"].fillna(1).astype("int64"))
    rows: list[dict[Any, Any]] = []
    for (epoch, _), group in chosen.groupby(["epoch", "end"]):
        noise = math.nan
        if variance is not None:
            noise = select.isotropic_variance(select.at_epoch(variance, epoch)).value
        rows += _with_predictions(group.sort_values("factor"), noise, weight_decay)
    return pd.DataFrame(rows, columns=list(AUGMENTATION_COLUMNS))


def _with_predictions(group: pd.DataFrame, variance: float, decay: float) -> list[dict[Any, Any]]:
    """Rows of one end at one epoch, the full data first."""
    records = group.to_dict("records")
    first = records[0]["value"] - decay
    true = math.nan
    if not math.isnan(variance):
        true = float(invert(first, variance, records[0]["num_examples"]))
    for record in records:
        record["ratio"] = (record["value"] - decay) / first
        record["ratio_of_noise"] = 1 / math.sqrt(record["factor"])
        record["goe"] = math.nan
        if not math.isnan(true):
            factor = sampling_factor(record["num_examples"])
            side = "largest" if true > 0 else "smallest"
            record["goe"] = float(isotropic.goe(true, factor, variance, side)) + decay
    return records


def batch_predictions(theory: pd.DataFrame, variance: pd.DataFrame) -> pd.DataFrame:
    """Put what is said of a batch's extremes beside the variance that it follows from.

    Parameters
    ----------
    theory
        From `sampling.theory_vs_empirical`.
    variance
        As for `sampling.outliers`.

    Returns
    -------
    DataFrame
        The rows of `theory`: measurement, Weyl's bound, the predictions of noise, and the epoch's
        isotropic_variance P σ² with its isotropic_standard_error, and element_variance σ²; then all
        further predictions.

    References
    ----------
    Mini-batch paper, Eq. 7, 8 and 9.
    """
    rows = []
    for epoch in theory["epoch"].unique():
        at_epoch = select.at_epoch(variance, epoch)
        noise = select.isotropic_variance(at_epoch)
        order = at_epoch["num_parameters"].iloc[0] if len(at_epoch) else np.nan
        values = (noise.value, noise.standard_error, noise.value / order)
        rows.append({"epoch": epoch, **dict(zip(_OF_EPOCH, values, strict=True))})
    of_epoch = pd.DataFrame(rows, columns=["epoch", *_OF_EPOCH])
    joined = theory.merge(of_epoch.astype({"epoch": theory["epoch"].dtype}), on="epoch")
    predicted = [name for name in PREDICTIONS if name in joined]
    first = [name for name in predicted if name in _FIRST]
    further = [name for name in predicted if name not in _FIRST]
    return joined[[*_MEASURED, *first, *_OF_EPOCH, *further]]


def batchnorm(running: Iterable[Spectrum], batch: Iterable[Spectrum]) -> pd.DataFrame:
    """Compare the extremes of Hessians by running statistics with those by batch statistics.

    Parameters
    ----------
    running
        Full spectra with batch normalisation by running statistics, one for each epoch.
    batch
        The same by the statistics of chunks, of any chunk sizes.

    Returns
    -------
    DataFrame
        One row per epoch, chunk size and end, with the columns of `BATCHNORM_COLUMNS`; `ratio` is
        that of batch to running statistics, of
        values without what a weight decay adds.

    Raises
    ------
    KeyError
        An epoch of `batch` is not among those of `running`.
    """
    known = {measured.metadata["epoch"]: measured for measured in running}
    rows = []
    for measured in batch:
        facts = {key: measured.metadata[key] for key in ("epoch", "chunk_size", "num_examples")}
        for end in ENDS:
            values = [
                float(value)
                for item in (known[facts["epoch"]], measured)
                for value in spectrum.extremal(item, end)
            ]
            row = dict(zip(BATCHNORM_COLUMNS[3:7], values, strict=True))
            decay = measured.metadata.get("weight_decay", 0.0)
            ratio = (row["batch"] - decay) / (row["running"] - decay)
            rows.append({**facts, "end": end, **row, "ratio": ratio})
    frame = pd.DataFrame(rows, columns=list(BATCHNORM_COLUMNS))
    return frame.sort_values(["epoch", "chunk_size", "end"], ignore_index=True)
