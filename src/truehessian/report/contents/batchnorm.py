"""Spectra by running statistics and by those of chunks."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Table
from truehessian.report.run import RunReport
from truehessian.report.tables import select


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Find the rows of both ends in the table that compares modes of normalisation."""
    frame = run.tables.get("batchnorm")
    if frame is None:
        return {"extremes": {}}
    chosen = frame[frame["chunk_size"] == numbers["chunk_size"]]
    chosen = select.at_epoch(chosen, numbers["epoch"])
    return {"extremes": {str(row["end"]): row for _, row in chosen.iterrows()}}


STEM_BATCHNORM = Content(
    "stem-batchnorm",
    "batchnorm",
    figure=Figure(needs=("batchnorm",), over=("chunk_size", "epoch")),
    optional=True,
    facts=_facts,
)
BATCHNORM = Content("batchnorm", "batchnorm", table=Table(needs=("batchnorm",)), optional=True)
