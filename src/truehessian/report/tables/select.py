"""Rows of tables by what they are of, each choice said once.

Every function accepts tables read back from CSV, and keeps the order and the index of the rows.
"""

import math
from collections.abc import Hashable, Iterable

import pandas as pd

from truehessian.spectra.spectrum import Spectrum
from truehessian.theory.predictions.base import Variance

_SIDE = {"largest": "top", "smallest": "bottom"}


def of_operator(extremal: pd.DataFrame, operator: str, split: str = "train") -> pd.DataFrame:
    """Keep the extremes of one kind of matrix on a split, of whatever examples of it."""
    return extremal[(extremal["operator"] == operator) & (extremal["split"] == split)]


def hessians(extremal: pd.DataFrame, split: str = "train") -> pd.DataFrame:
    """Keep the extremes of Hessians on a split: those of training examples by default."""
    return of_operator(extremal, "hessian", split)


def of_sample(
    extremal: pd.DataFrame, *, batch_size: int | None = None, factor: int | None = None
) -> pd.DataFrame:
    """Keep the rows of batches of a size or of so many augmented copies; by default of neither.

    Without both, these are the rows of all the data.
    """
    for column, wanted in (("batch_size", batch_size), ("factor", factor)):
        values = extremal[column]
        extremal = extremal[values.isna() if wanted is None else values == wanted]
    return extremal


def last_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the last epoch."""
    return frame[frame["epoch"] == frame["epoch"].max()]


def at_end(frame: pd.DataFrame, end: str) -> pd.DataFrame:
    """Keep the rows of one end of the spectrum."""
    return frame[frame["end"] == end]


def at_epoch(frame: pd.DataFrame, epoch: Hashable) -> pd.DataFrame:
    """Keep the rows of one epoch."""
    return frame[frame["epoch"] == epoch]


def direction(end: str, rank: int) -> str:
    """Name the Ritz vector of the outermost value but `rank` - 1: top-1, bottom-2."""
    return f"{_SIDE[end]}-{rank}"


def along(variance: pd.DataFrame, end: str, rank: int) -> pd.DataFrame:
    """Keep the rows along one Ritz vector."""
    return variance[variance["direction"] == direction(end, rank)]


def along_random(variance: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows along random directions."""
    return variance[variance["direction"].str.startswith("random-")]


def isotropic_variance(variance: pd.DataFrame) -> Variance:
    """Average V over the random directions of one epoch: P σ²; the error is that of the mean."""
    values = along_random(variance)["variance"]
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Variance(float(values.mean()), error)


def variance_along(variance: pd.DataFrame, end: str, rank: int) -> Variance:
    """Look up V(u) along the Ritz vector of this rank (from 1) at one epoch; NaN if missing."""
    rows = along(variance, end, rank)
    if rows.empty:
        return Variance(math.nan, math.nan)
    return Variance(float(rows["variance"].iloc[0]), float(rows["standard_error"].iloc[0]))


def training_spectra(spectra: Iterable[Spectrum]) -> tuple[dict[int, Spectrum], list[Spectrum]]:
    """Pick the spectra of the training Hessian: of all the data by epoch, and of batches.

    The batches are in the order of epochs and sizes; augmented data are left out.
    """
    facts = [
        (measured.metadata, measured)
        for measured in spectra
        if measured.metadata["operator"] == "hessian"
        and measured.metadata["split"] == "train"
        and not measured.metadata.get("factor")
    ]
    full = {of["epoch"]: measured for of, measured in facts if not of.get("batch_size")}
    batches = [measured for of, measured in facts if of.get("batch_size")]
    batches.sort(key=lambda m: (m.metadata["epoch"], m.metadata["batch_size"]))
    return full, batches
