"""Curvature at the outputs that examples would have without training on them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport
from truehessian.report.tables import select
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS


def table(
    frame: pd.DataFrame, tests: Mapping[int, spectrum.Spectrum], losses: Mapping[int, float]
) -> pd.DataFrame:
    """Set what the training set says without its examples beside what the test split says.

    Parameters
    ----------
    frame
        Of all epochs, with the columns of `measurements.left_out.COLUMNS` behind `epoch`.
    tests, losses
        Spectra of the test split's Hessian, and its losses, by epoch.

    Returns
    -------
    DataFrame
        The same with columns test, test_residual and test_loss behind them.
    """
    found = frame.sort_values("epoch", kind="stable", ignore_index=True)
    extremes = {
        (epoch, end): spectrum.extremal(measured, end)
        for epoch, measured in tests.items()
        for end in ENDS
    }
    pairs = list(zip(found["epoch"], found["end"], strict=True))
    return found.assign(
        test=[float(extremes[pair][0]) for pair in pairs],
        test_residual=[float(extremes[pair][1]) for pair in pairs],
        test_loss=found["epoch"].map(losses),
    )


def _make(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots import influence as plots
    from truehessian.report.tables.extremes import read_epochs

    spectra = [spectrum.load(path) for path in files["test"]]
    evaluations = read_epochs(files["evaluations"])
    losses = dict(zip(evaluations["epoch"], evaluations["test_loss"], strict=True))
    frame = table(
        read_epochs(files["influence"]),
        {measured.metadata["epoch"]: measured for measured in spectra},
        losses,
    )
    return Made(frame, plots.influence(frame, "Training examples as if they had not trained"))


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Give the last epoch's row of the largest eigenvalue."""
    frame = run.tables.get("influence")
    if frame is None or frame.empty:
        return {"row": None}
    last = select.at_end(select.last_epoch(frame), "largest")
    return {"row": last.iloc[0].to_dict()}


INFLUENCE = Content(
    "influence",
    "truth",
    figure=Figure(needs=("influence",)),
    table=Table(needs=("influence",)),
    optional=True,
    caption=(
        "**What weights owe to their examples**: extreme eigenvalues of the Hessian of the "
        "training set, and of the same examples at the outputs that each would have without "
        "training on it, one Newton step away; beside them those of the test split, of which "
        "nothing is used. On the right the mean losses."
        "{% if row is not none %} "
        "At epoch {{ row.epoch }} the largest eigenvalue is {{ row.training | number(3) }} in "
        "training, {{ row.leave_one_out | number(3) }} with each example left out, and "
        "{{ row.test | number(3) }} on the test split; the losses are {{ row.loss | number(3) }}, "
        "{{ row.leave_one_out_loss | number(3) }} and {{ row.test_loss | number(3) }}.{% endif %}"
    ),
    table_caption=(
        "**The same in numbers.** `along_leave_one_out`: quotient along the training Hessian's own "
        "Ritz vector, with its standard error over examples. `damping`: 1 / (sum of the steps' "
        "learning rates / (1 − momentum)), beside the penalty on the weights, unless it was given. "
        "`worst_residual`: of the equations, relative, after `steps` products for each example in "
        "the mean. Where the loss without the examples is far from the test split's, so is the "
        "curvature."
    ),
    title="Curvature of training examples at the outputs that they would have without training",
    facts=_facts,
    make=_make,
    inputs={
        "influence": "influence/{epoch}.csv",
        "test": "spectra/{epoch}/test.npz",
        "evaluations": "evaluation/{epoch}.csv",
    },
)
