"""Extremes and traces by group of parameters."""

import math

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from truehessian.report.plots import style
from truehessian.report.tables.groups import only_groups
from truehessian.spectra.spectrum import ENDS

_LEGIBLE = 60  # labels along a page


def groups(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the extremes and the trace of each group, a line for each epoch.

    Parameters
    ----------
    frame
        As `tables.groups.groups` gives it.
    title
        Heading of the figure.
    """
    own = only_groups(frame)
    names, epochs = list(dict.fromkeys(own["group"])), sorted(own["epoch"].unique())
    width = style.SINGLE_COLUMN if len(names) <= 12 else style.DOUBLE_COLUMN
    figure, panels = style.new_figure(3, 1, panel=(width, 1.7), sharex=True)
    colours = seaborn.color_palette("viridis", len(epochs)).as_hex()
    columns = {end: f"{end}_residual" for end in ENDS} | {"trace": "trace_standard_error"}
    for axes, (column, error) in zip(panels[:, 0], columns.items(), strict=True):
        style.set_scale(axes, own[column].to_numpy(float))
        axes.set_ylabel(f"{column}\neigenvalue" if column in ENDS else column)
        axes.axhline(0, color=style.LIGHT_GREY, linewidth=0.7, zorder=0)
        for epoch, colour in zip(epochs, colours, strict=True):
            rows = own[own["epoch"] == epoch].set_index("group").reindex(names)
            axes.errorbar(
                *(np.arange(len(names)), rows[column], rows[error]),
                fmt="o-",
                color=colour,
                markersize=2.5,
                linewidth=0.8,
                label=f"epoch {epoch}",
            )
    _name_groups(panels[-1, 0], names)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    figure.align_ylabels(panels[:, 0])
    style.legend_below(figure, panels[0, 0])
    return figure


def _name_groups(axes: Axes, names: list[str]) -> None:
    """Name as many groups as can be read."""
    stride = math.ceil(len(names) / _LEGIBLE)
    ticks = range(0, len(names), stride)
    labels = [names[tick] for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=90, fontsize=8 if len(ticks) <= 24 else 6)
    axes.set_xlim(-0.6, len(names) - 0.4)
