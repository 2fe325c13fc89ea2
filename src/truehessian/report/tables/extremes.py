"""Tables: extremal eigenvalues and what they tell of the true Hessian, one DataFrame each.

Column names and their order are a contract with figures, checks and users. Missing values are
NaN (or NA in integer columns). Every function accepts tables read back from CSV.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum

EXTREMAL_KEYS = (
    "epoch", "operator", "split", "num_examples", "batch_size", "factor", "fold", "end",
)  # fmt: skip
FOLDS_DRAWN = 5  # of batches in figures of spectra, as in the papers; all of them go into tables


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
        (the row of the stack's `indices`, from 0) are nullable integers. `residual` bounds the
        distance to an eigenvalue and is never below the precision of the products.
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


def first_folds(extremal: pd.DataFrame, count: int = FOLDS_DRAWN) -> pd.DataFrame:
    """Keep the first `count` folds of every batch size, and whatever has no folds."""
    return extremal[extremal["fold"].isna() | (extremal["fold"] < count)]


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
