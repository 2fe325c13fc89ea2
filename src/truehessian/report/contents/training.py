"""Learning curves, and how good the checkpoints are."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport


def _last_epoch(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    return {"last": None if run.training is None or run.training.empty else run.training.iloc[-1]}


def _draw(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots.training import learning_curves

    frame = pd.read_csv(files["training"][0])
    return Made(frame, learning_curves(frame))


def _collect(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.tables.extremes import read_epochs

    return Made(read_epochs(files["evaluations"]).sort_values("epoch", ignore_index=True))


LEARNING_CURVES = Content(
    "learning_curves",
    "training",
    figure=Figure(needs=("training",)),
    facts=_last_epoch,
    make=_draw,
    inputs={"training": "training.csv"},
)
CHECKPOINTS = Content(
    "checkpoints",
    "training",
    table=Table(),
    title="Loss and accuracy of the checkpoints",
    make=_collect,
    inputs={"evaluations": "evaluation/{epoch}.csv"},
)
