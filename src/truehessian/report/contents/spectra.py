"""Stem plots of single spectra."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from truehessian.report.contents.base import Content, Figure
from truehessian.report.run import RunReport
from truehessian.report.tables import select
from truehessian.spectra.spectrum import ENDS


def _facts_of(operator: str, run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    sizes = {name: value for name, value in numbers.items() if name != "epoch"}
    here = _extremes(run, operator, numbers["epoch"], **sizes)
    return {
        "here": here,
        "full": _extremes(run, "hessian", numbers["epoch"]),
        "num_examples": here["largest"]["num_examples"] if here else None,
    }


def _extremes(
    run: RunReport, operator: str, epoch: int, **sizes: int
) -> dict[str, "pd.Series[Any]"]:
    """Find the rows of both ends, of the first fold if there are several."""
    frame = run.tables.get("extremal_ritz_values")
    if frame is None:
        return {}
    chosen = select.of_sample(select.of_operator(frame, operator), **sizes)
    chosen = select.at_epoch(chosen, epoch)
    rows = {end: select.at_end(chosen, end) for end in ENDS}
    if any(frame.empty for frame in rows.values()):
        return {}
    return {end: frame.sort_values("fold").iloc[0] for end, frame in rows.items()}


def _of_hessian(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    return _facts_of("hessian", run, numbers)


STEM_FULL = Content(
    "stem-full",
    "spectra",
    figure=Figure(over=("epoch",)),
    facts=_of_hessian,
    inputs={"spectrum": "spectra/{epoch}/full.npz"},
)
STEM_BATCH = Content(
    "stem-batch",
    "spectra",
    figure=Figure(needs=("batch",), over=("batch_size", "epoch")),
    facts=_of_hessian,
    inputs={"spectrum": "spectra/{epoch}/batch-{batch_size}.npz"},
)
STEM_AUGMENTED = Content(
    "stem-augmented",
    "spectra",
    figure=Figure(needs=("augmentation",), over=("factor", "epoch")),
    optional=True,
    facts=_of_hessian,
    inputs={"spectrum": "spectra/{epoch}/augmented-{factor}.npz"},
)
STEM_NOISE = Content(
    "stem-noise",
    "spectra",
    figure=Figure(needs=("batch",), over=("batch_size", "epoch")),
    optional=True,
    facts=lambda run, numbers: _facts_of("noise", run, numbers),
    inputs={"spectrum": "spectra/{epoch}/noise-{batch_size}.npz"},
)
STEM_GGN = Content(
    "stem-ggn",
    "spectra",
    figure=Figure(over=("epoch",)),
    optional=True,
    facts=lambda run, numbers: _facts_of("ggn", run, numbers),
    inputs={"spectrum": "spectra/{epoch}/ggn.npz"},
)
