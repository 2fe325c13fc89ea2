"""Entries that a user might add to registries, each as it would stand in a file of its own."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from truehessian.report import plots
from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.spectra import spectrum
from truehessian.theory.estimates.base import Estimator
from truehessian.theory.predictions.base import QUANTILES, Known, Predicted, Prediction


def _twice(known: Known) -> Predicted:
    value = 2 * known.eigenvalues
    further = {name: value * (0.5 + level) for name, level in QUANTILES.items()}
    return Predicted(value, value - 1, value + 1, further)


TWICE = Prediction(
    name="twice",
    label="doubling",
    marker="P",
    colour="tab:cyan",
    assumption="takes every batch for twice as sharp",
    predict=_twice,
    overlap=lambda known: np.full(len(known.eigenvalues), 0.25),
    overlap_rule="a quarter",
    further=tuple(QUANTILES),
)

HALFWAY_BACK = Estimator(
    name="halfway_back",
    label="halfway back",
    marker="X",
    colour="tab:cyan",
    estimate=lambda seen, population: (seen.value + seen.crossed) / 2,
)


def _negative_share(files: Mapping[str, list[str]]) -> Made:
    """Draw the share of negative eigenvalues of each epoch, and tabulate it."""
    rows = []
    for path in files["spectra"]:
        measured = spectrum.load(path)
        weight = measured.weights[measured.ritz_values < 0].sum() / len(measured.weights)
        rows.append({"epoch": measured.metadata["epoch"], "negative_share": weight})
    frame = pd.DataFrame(rows)
    figure, ((axes,),) = plots.new_figure()
    axes.plot(frame["epoch"], frame["negative_share"], "o")
    return Made(frame, figure)


NEGATIVE_SHARE = Content(
    "negative_share",
    "extremes",
    figure=Figure(),
    table=Table(),
    caption="**Share of negative eigenvalues**{% if last %}, {{ last | percent }}{% endif %}.",
    table_caption="**The same in numbers.**",
    facts=lambda run, numbers: {
        "last": run.tables["negative_share"]["negative_share"].iloc[-1]
        if "negative_share" in run.tables
        else None
    },
    title="Share of negative eigenvalues",
    make=_negative_share,
    inputs={"spectra": "spectra/{epoch}/full.npz"},
)
