"""Predictions of what sampling does, beside what it was measured to do."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport
from truehessian.theory.predictions import PREDICTIONS

_OF_BATCHES = Figure(needs=("batch", "variance"))
_PREDICTED = Table(needs=("variance",))


def _predictions(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """List the predictions that there are of the run, or all where nothing is known of it."""
    frame = run.tables.get("theory_vs_empirical")
    entries = PREDICTIONS.entries()
    if frame is None or frame.empty:
        return {"predictions": list(entries.values())}
    made = [name for name in entries if name in frame and frame[name].notna().any()]
    return {"predictions": [entries[name] for name in made]}


def _errors(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Compute how far the chosen prediction and Weyl's bound are from the measurement."""
    from truehessian.report.tables import errors

    facts = _predictions(run, numbers) | {"folds": None, "weyl": None, "chosen": None}
    frame = run.tables.get("theory_vs_empirical")
    if frame is None or frame.empty:
        return facts
    shift = (frame["batch_mean"] - frame["full"]).abs()
    weyl = ((frame["weyl"] - frame["full"]).abs() / shift).median() if "weyl" in frame else None
    return facts | {
        "folds": sorted(frame["folds"].unique()),
        "weyl": None if weyl is None or pd.isna(weyl) else weyl,
        "chosen": errors.missed(frame).get("chosen", pd.Series(dtype=float)).median(),
    }


def _make_errors(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.tables import errors

    return Made(errors.prediction_errors(pd.read_csv(files["theory"][0])))


THEORY_VS_EMPIRICAL = Content(
    "theory_vs_empirical", "theory", figure=_OF_BATCHES, table=_PREDICTED, facts=_errors
)
PREDICTION_ERRORS = Content(
    "prediction_errors",
    "theory",
    table=Table(needs=("batch", "variance")),
    optional=True,
    title="How far predictions miss the shift of batch extremes, and what they take",
    make=_make_errors,
    inputs={"theory": "tables/theory_vs_empirical.csv"},
)
DISTRIBUTIONS = Content("distributions", "theory", figure=_OF_BATCHES, optional=True)
OVERLAPS = Content("overlaps", "theory", figure=_OF_BATCHES, optional=True, facts=_predictions)
BATCH_PREDICTIONS = Content(
    "batch_predictions", "theory", table=Table(needs=("batch", "variance")), optional=True
)
OUTLIERS = Content("outliers", "theory", table=_PREDICTED, optional=True)
NOISE = Content("noise", "theory", figure=_OF_BATCHES, table=_PREDICTED, optional=True)
NOISE_SCALING = Content("noise_scaling", "theory", table=_PREDICTED, optional=True)
