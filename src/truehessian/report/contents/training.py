"""Learning curves, and how good the checkpoints are."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from truehessian.report import measures
from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport


def _last_epoch(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    if run.training is None or run.training.empty:
        return {"last": None, "measure": None, "values": None}
    last, name = run.training.iloc[-1], measures.measure_in(run.training)
    if name is None:
        return {"last": last, "measure": None, "values": None}
    values = [measures.written(name, last[f"{split}_{name}"]) for split in ("train", "test")]
    return {"last": last, "measure": measures.label(name), "values": values}


def _measure(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    frame = run.tables["checkpoints"]
    name = measures.measure_in(frame)
    label = None if name is None else measures.label(name)
    return {"name": name, "measure": label, "has_chance": f"chance_{name}" in frame}


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
    title="Losses of the checkpoints, and what is measured beside them",
    facts=_measure,
    make=_collect,
    inputs={"evaluations": "evaluation/{epoch}.csv"},
)
