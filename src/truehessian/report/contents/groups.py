"""Extremes and traces by group of parameters, such as those of layers."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport
from truehessian.report.tables import groups as tables, select
from truehessian.spectra import spectrum


def _make(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots import groups as plots

    stacks = [spectrum.load(path) for path in files["groups"]]
    wholes = [spectrum.load(path) for name in ("full", "ggn") for path in files[name]]
    frame = tables.groups(stacks, wholes)
    return Made(frame, plots.groups(frame, "Extremes and traces by group of parameters"))


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Say of the last epoch which groups have the extremes, and whether the traces add up."""
    frame = run.tables.get("groups")
    if frame is None or frame.empty:
        return {"epoch": None}
    last = select.last_epoch(frame)
    own = tables.only_groups(last)
    sums = tables.gap(last)
    return {
        "epoch": last["epoch"].iloc[0],
        "top": own.sort_values("largest").iloc[-1].to_dict(),
        "heaviest": own.sort_values("trace").iloc[-1].to_dict(),
        "sums": None if sums.empty else sums.iloc[0].to_dict(),
    }


_SUM = (
    "{% if epoch is not none and sums is not none %}"
    "At epoch {{ epoch }} the traces of the groups add up to {{ sums.sum | number(4) }}, the trace "
    "of the whole matrix was measured to be {{ sums.whole | number(4) }}: the two differ by "
    "{{ ((sums.sum - sums.whole) | abs / sums.error) | number(2) }} standard errors of their "
    "difference.{% endif %}"
)
GROUPS = Content(
    "groups",
    "groups",
    figure=Figure(needs=("groups",)),
    table=Table(needs=("groups",)),
    optional=True,
    caption=(
        "**Extreme eigenvalues and trace of each diagonal block**, whose rows and columns are the "
        "parameters of one group. Bars are residuals, and standard errors of the traces. "
        "{% if epoch is not none %}"
        "The largest eigenvalue of any block at epoch {{ epoch }} is {{ top.largest | number(4) }}"
        ", of {{ top.group }}. {{ heaviest.group }} has the largest trace: "
        "{{ heaviest.share_of_trace | percent }} of all, with "
        "{{ heaviest.share_of_parameters | percent }} of the parameters."
        "{% endif %} " + _SUM
    ),
    table_caption=(
        "**The same in numbers.** `trace`: P times the mean of the Ritz values with their weights, "
        "which is P vᵀAv/|v|² for a start vector v, and exact where there are as many steps as "
        "parameters; its standard error is that of few start vectors, by their second moments. "
        "`sum`: of all groups. `whole`: the whole matrix, measured by itself; no eigenvalue of a "
        "block lies beyond its extremes. Shares of the trace are of that of all groups together, "
        "if they hold all parameters. " + _SUM
    ),
    title="Extremes and traces by group of parameters",
    facts=_facts,
    make=_make,
    inputs={
        "groups": "spectra/{epoch}/groups.npz",
        "full": "spectra/{epoch}/full.npz",
        "ggn": "spectra/{epoch}/ggn.npz",
    },
)
