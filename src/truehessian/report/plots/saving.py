"""How figures are written to files."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import fontTools.subset
import pandas as pd
from matplotlib.figure import Figure

from truehessian.report.plots import style

_Options = fontTools.subset.Options  # of the fonts that matplotlib embeds in a PDF file
# A date in a file would make every run's figures differ.
_UNDATED = {"pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}, "png": {}}


@style.styled
def save(figure: Figure, paths: Iterable[str | Path], data: pd.DataFrame | None = None) -> None:
    """Write a figure to each path, in the format that the suffix names.

    The same figure gives the same bytes on every call: nothing written holds a date or a random
    identifier. A file is written to a temporary name and renamed.

    Parameters
    ----------
    figure
        What to save.
    paths
        Files ending in `.pdf` (TrueType fonts), `.svg` (text as outlines), `.png` (200 dpi) or
        `.csv`, for its data.
    data
        What it shows.

    Raises
    ------
    ValueError
        A suffix is none of these, or there are no data for a `.csv`.
    """
    # What is left of a font for a PDF file is of no interest, and takes a hundred lines to tell.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    # One layout serves all formats; to find it takes longer than to write a file.
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)  # by "none" it is kept, and every file is drawn twice
    for path in map(Path, paths):
        partial = path.with_name(f".{path.name}.part")
        _write(figure, partial, path, data)
        os.replace(partial, path)
    if engine is not None:
        figure.set_layout_engine(engine)


def _write(figure: Figure, partial: Path, path: Path, data: pd.DataFrame | None) -> None:
    suffix = path.suffix.removeprefix(".")
    if suffix == "csv" and data is not None:
        data.to_csv(partial, index=False)
    elif suffix in _UNDATED:
        with mock.patch.object(fontTools.subset, "Options", _options_of_print):
            figure.savefig(partial, format=suffix, dpi=200, metadata=_UNDATED[suffix])
    else:
        allowed = sorted({*_UNDATED, *([] if data is None else ["csv"])})
        raise ValueError(f"figure {path} must end in one of {allowed}, got {suffix!r}")


def _options_of_print(**given: Any) -> Any:
    """Leave out tables that set text: in a file it has been set, and they take half the time."""
    options = _Options(**given)
    options.drop_tables = [*options.drop_tables, "GDEF", "GPOS", "GSUB", "MATH", "kern"]
    return options
