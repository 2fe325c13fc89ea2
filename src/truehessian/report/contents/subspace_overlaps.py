"""How far the leading subspaces turn from one epoch to another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport
from truehessian.spectra import subspaces

COLUMNS = ("end", "epoch", "other_epoch", "dimension", "overlap", "chance")
ENDS = ("top", "bottom")


def table(paths: Mapping[int, str]) -> pd.DataFrame:
    """Compare the Ritz vectors of all pairs of epochs, an epoch with itself too.

    Parameters
    ----------
    paths
        Files of Ritz vectors, see `spectra.vectors.save`, by epoch. No more than two are in memory
        at a time.

    Returns
    -------
    DataFrame
        One row per end and pair of epochs, the earlier one first, with the columns of `COLUMNS`.
        Where an epoch has fewer vectors than the other, as many of both are compared.
    """
    rows = []
    for end in ENDS:
        for epoch in sorted(paths):
            first = _vectors(paths[epoch], end)
            for other in sorted(later for later in paths if later >= epoch):
                second = first if other == epoch else _vectors(paths[other], end)
                count = min(len(first), len(second))
                found = subspaces.overlap(first[:count], second[:count])
                chance = subspaces.of_chance(count, first.shape[1])
                rows.append((end, epoch, other, count, found, chance))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _vectors(path: str, end: str) -> Any:
    with safe_open(path, framework="numpy") as file:
        return file.get_tensor(end)


def _make(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots import sharpness as plots

    frame = table({int(Path(path).parent.name): path for path in files["vectors"]})
    return Made(frame, plots.subspace_overlaps(frame, "Overlap of leading subspaces"))


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Give the overlap of the last two epochs, and of the first and the last."""
    frame = run.tables.get("subspace_overlaps")
    if frame is None or frame["epoch"].nunique() < 2:
        return {"last": None}
    top = frame[frame["end"] == "top"]
    epochs = sorted(top["epoch"].unique())
    pairs = {"last": (epochs[-2], epochs[-1]), "whole": (epochs[0], epochs[-1])}
    found = top.set_index(["epoch", "other_epoch"])
    facts: dict[str, Any] = {
        name: {"epochs": pair, **found.loc[pair].to_dict()} for name, pair in pairs.items()
    }
    return facts


SUBSPACE_OVERLAPS = Content(
    "subspace_overlaps",
    "extremes",
    figure=Figure(),
    table=Table(),
    optional=True,
    caption=(
        "**Overlap of the leading subspaces of two epochs**, ‖Vᵀ W‖² / k with the k outermost Ritz "
        "vectors of each: 1 where they span the same, k / P for random ones."
        "{% if last is not none %} "
        "That of the largest eigenvalues is {{ last.overlap | number(2) }} between epochs "
        "{{ last.epochs[0] }} and {{ last.epochs[1] }}, and {{ whole.overlap | number(2) }} "
        "between {{ whole.epochs[0] }} and {{ whole.epochs[1] }}; by chance it would be "
        "{{ last.chance | number(2) }}.{% endif %}"
    ),
    table_caption="**The same in numbers.** `chance`: k / P, the mean of random subspaces.",
    title="Overlap of the leading subspaces of two epochs",
    facts=_facts,
    make=_make,
    inputs={"vectors": "spectra/{epoch}/full.vectors.safetensors"},
)
