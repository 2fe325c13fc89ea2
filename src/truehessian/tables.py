"""Tables: extremal eigenvalues and what they tell of the true Hessian, one DataFrame each.

Column names and their order are a contract with figures, checks and users. Missing values are
NaN (or NA in integer columns). Every function accepts tables read back from CSV.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from truehessian import spectrum
from truehessian import true_hessian as estimates
from truehessian.sampling_tables import isotropic_variance, variance_along
from truehessian.spectrum import ENDS, Spectrum

EXTREMAL_KEYS = (
    "epoch", "operator", "split", "num_examples", "batch_size", "factor", "fold", "end",
)  # fmt: skip
SHRINKAGE_COLUMNS = (
    "epoch", "end", "num_examples", "value", "inherent_limit", "inherent_low", "inherent_high",
    "inherent_slope", "inherent_fit", "vanishing_coefficient", "vanishing_low", "vanishing_high",
    "vanishing_fit", "better",
)  # fmt: skip
TRUE_HESSIAN_COLUMNS = (
    "epoch", "end", "rank", "empirical", "inverted_goe", "inverted_directional", "held_out",
    "held_out_standard_error", "z", "bracket_low", "bracket_high", "verdict",
)  # fmt: skip


def read_epochs(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read tables of one epoch each, named `{epoch}.csv`, into one with a column `epoch`."""
    parts = {int(Path(path).stem): pd.read_csv(path) for path in paths}
    return pd.concat(parts, names=["epoch"]).reset_index("epoch").reset_index(drop=True)


def extremal_ritz_values(spectra: Iterable[Spectrum]) -> pd.DataFrame:
    """Collect the extreme Ritz values of many spectra.

    Parameters
    ----------
    spectra
        Single spectra or stacks of folds; what they measured is read from their metadata.

    Returns
    -------
    DataFrame
        One row per spectrum, fold and end, sorted. Columns epoch, operator, split, num_examples,
        batch_size, factor, fold, end, value, residual, steps. `batch_size`, `factor` and `fold`
        (the row of the stack's `indices`, from 0) are nullable integers.
    """
    rows: list[dict[str, Any]] = []
    for measured in spectra:
        metadata = measured.metadata
        origin = {key: metadata[key] for key in ("epoch", "operator", "split", "num_examples")}
        origin |= {key: metadata.get(key) for key in ("batch_size", "factor")}
        for end in ENDS:
            values, residuals = spectrum.extremal(measured, end)
            stacked = values.ndim > 0
            rows.extend(
                {
                    **origin,
                    "fold": fold if stacked else None,
                    "end": end,
                    "value": float(value),
                    "residual": float(residual),
                    "steps": metadata["steps"],
                }
                for fold, (value, residual) in enumerate(
                    zip(np.atleast_1d(values), np.atleast_1d(residuals), strict=True)
                )
            )
    frame = pd.DataFrame(rows, columns=[*EXTREMAL_KEYS, "value", "residual", "steps"])
    frame = frame.astype(dict.fromkeys(("batch_size", "factor", "fold"), "Int64"))
    return frame.sort_values(list(EXTREMAL_KEYS), na_position="first", ignore_index=True)


def shrinkage(extremal: pd.DataFrame) -> pd.DataFrame:
    """Follow the extremal eigenvalues of the training Hessian as the sample grows.

    Parameters
    ----------
    extremal
        From `extremal_ritz_values`: batches, the full data and augmented data.

    Returns
    -------
    DataFrame
        One row per epoch, end and number of examples, with the columns of `SHRINKAGE_COLUMNS`:
        the value (the mean over folds), then per epoch and end the two laws of
        `true_hessian.fit_shrinkage` with intervals, and their values at this number of examples.
        The laws are NaN and "undecided" where only one number of examples was measured.
    """
    hessian = _training_hessian(extremal)
    parts = []
    for (epoch, end), group in hessian.groupby(["epoch", "end"]):
        points = group.groupby("num_examples")["value"].agg(["mean", "size"]).reset_index()
        part = pd.DataFrame(
            {
                "epoch": epoch,
                "end": end,
                "num_examples": points["num_examples"].astype("int64"),
                "value": points["mean"],
                "better": "undecided",
            },
            columns=list(SHRINKAGE_COLUMNS),
        )
        if len(points) > 1:
            # An eigenvalue of T examples fluctuates as T^(-1/2), a mean over folds by less.
            sizes = part["num_examples"].to_numpy()
            errors = 1 / np.sqrt(sizes * points["size"].to_numpy())
            fit = estimates.fit_shrinkage(sizes, part["value"].to_numpy(), errors)
            laws = {key: value for key, value in fit._asdict().items() if key in part.columns}
            fitted = {"inherent_fit": fit.inherent(sizes), "vanishing_fit": fit.vanishing(sizes)}
            part = part.assign(**laws, **fitted)
        parts.append(part.astype(dict.fromkeys(SHRINKAGE_COLUMNS[4:-1], "float64")))
    if not parts:
        return pd.DataFrame(columns=list(SHRINKAGE_COLUMNS))
    return pd.concat(parts, ignore_index=True)


def true_hessian(
    extremal: pd.DataFrame, variance: pd.DataFrame, held_out: pd.DataFrame
) -> pd.DataFrame:
    """Set the estimates of the true Hessian's extremal eigenvalues side by side.

    Parameters
    ----------
    extremal
        From `extremal_ritz_values`; its full training Hessians supply rank 1 where `held_out`
        has no row.
    variance
        As for `sampling_tables.outliers`; "top-2" is the direction of the second largest Ritz
        value.
    held_out
        Columns epoch, end, rank (from 1), empirical, held_out, held_out_standard_error,
        bracket_low, bracket_high (NaN beyond rank 1).

    Returns
    -------
    DataFrame
        One row per epoch, end and rank, with the columns of `TRUE_HESSIAN_COLUMNS`. An inverted
        value is NaN where the eigenvalue lies inside the noise, or V was not measured.
    """
    hessian = _training_hessian(extremal)
    full = hessian[hessian["batch_size"].isna() & hessian["factor"].isna()]
    known = {(row.epoch, row.end) for row in held_out.itertuples() if row.rank == 1}
    records: list[dict[Hashable, Any]] = held_out.to_dict("records")
    records += [
        {"epoch": row.epoch, "end": row.end, "rank": 1, "empirical": row.value}
        for row in full.itertuples()
        if (row.epoch, row.end) not in known
    ]
    rows = [
        {**row, **_estimates(row, variance[variance["epoch"] == row["epoch"]])} for row in records
    ]
    frame = pd.DataFrame(rows, columns=list(TRUE_HESSIAN_COLUMNS))
    return frame.sort_values(["epoch", "end", "rank"], ignore_index=True)


def _estimates(row: Mapping[Hashable, Any], variance: pd.DataFrame) -> dict[str, Any]:
    num_examples = 1 if variance.empty else int(variance["num_examples"].iloc[0])
    along = variance_along(variance, row["end"], int(row["rank"])).value
    z, verdict = estimates.held_out_verdict(
        row.get("held_out", math.nan), row.get("held_out_standard_error", math.nan), row["end"]
    )
    isotropic = isotropic_variance(variance).value
    return {
        "inverted_goe": float(estimates.invert(row["empirical"], isotropic, num_examples)),
        "inverted_directional": float(estimates.invert(row["empirical"], along, num_examples)),
        "z": z,
        "verdict": verdict,
    }


def _training_hessian(extremal: pd.DataFrame) -> pd.DataFrame:
    return extremal[(extremal["operator"] == "hessian") & (extremal["split"] == "train")]


def write(
    frame: pd.DataFrame, csv: str | Path, tex: str | Path, md: str | Path, caption: str = ""
) -> None:
    """Write a table three times: in full precision as CSV, for readers as LaTeX and Markdown.

    Parameters
    ----------
    frame
        Any table of this module; its index is left out.
    csv, tex, md
        Paths of the three files. Floats have full precision in the CSV file, six significant
        digits in the others, where missing values are empty.
    caption
        In LaTeX the caption of a table environment, in Markdown a paragraph above the table.
        Special characters of LaTeX are escaped in the cells and headers, not in the caption.
    """
    frame.to_csv(csv, index=False)
    readable = frame.astype(object).map(_readable)
    latex = readable.to_latex(index=False, escape=True, caption=caption or None)
    Path(tex).write_text(latex, encoding="utf-8")
    markdown = readable.to_markdown(index=False, disable_numparse=True)
    heading = f"{caption}\n\n" if caption else ""
    Path(md).write_text(f"{heading}{markdown}\n", encoding="utf-8")


def _readable(cell: Any) -> str:
    if pd.isna(cell):
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
