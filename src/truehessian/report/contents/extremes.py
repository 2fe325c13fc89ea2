"""Extremal Ritz values: box plots over batches, and all of them in a table."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Table
from truehessian.report.run import RunReport
from truehessian.report.tables import select
from truehessian.report.tables.extremes import first_folds


def _facts_of(end: str, run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Find where the median over batches is furthest from the value of all the data."""
    frame = run.tables.get("extremal_ritz_values")
    facts: dict[str, Any] = {"end": end, "folds": None, "median": None}
    if frame is None:
        return facts
    chosen = select.at_end(select.hessians(frame), end)
    batches = first_folds(chosen[chosen["batch_size"] == numbers["batch_size"]])
    whole = select.of_sample(chosen).set_index("epoch")["value"]
    medians = batches.groupby("epoch")["value"].median()
    shifts = (medians - whole).abs().dropna()
    if shifts.empty:
        return facts
    epoch: Any = shifts.idxmax()
    return facts | {
        "folds": int(batches.groupby("epoch").size().max()),
        "epoch": epoch,
        "median": medians[epoch],
        "full": whole[epoch],
    }


BOXPLOT_LARGEST = Content(
    "boxplot-largest",
    "extremes",
    figure=Figure(needs=("batch",), over=("batch_size",)),
    template="boxplot",
    facts=lambda run, numbers: _facts_of("largest", run, numbers),
)
BOXPLOT_SMALLEST = Content(
    "boxplot-smallest",
    "extremes",
    figure=Figure(needs=("batch",), over=("batch_size",)),
    template="boxplot",
    facts=lambda run, numbers: _facts_of("smallest", run, numbers),
)
EXTREMAL_RITZ_VALUES = Content("extremal_ritz_values", "extremes", table=Table())
