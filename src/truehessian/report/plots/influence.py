"""Figure of what weights owe to their examples."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from truehessian.report.plots import style
from truehessian.report.plots.style import BLUE, ORANGE, VERMILLION
from truehessian.report.tables import select

_LOOKS = {
    "training": ("training data", BLUE, "o-"),
    "leave_one_out": ("each example left out", ORANGE, "D-"),
    "test": ("test data", VERMILLION, "s--"),
}
_LOSSES = {"training": "loss", "leave_one_out": "leave_one_out_loss", "test": "test_loss"}


def influence(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw extremes and losses against the epoch: in training, left out, and on the test split.

    Parameters
    ----------
    frame
        As `contents.influence.table` gives it.
    title
        Heading of the figure.
    """
    ends = style.ends_of(frame)
    panel = (style.DOUBLE_COLUMN / (len(ends) + 1), 2.6)
    figure, ((*panels,),) = style.new_figure(1, len(ends) + 1, panel=panel)
    for axes, end in zip(panels, ends, strict=False):
        _lines(axes, select.at_end(frame, end), {name: name for name in _LOOKS})
        axes.set_ylabel(f"{end} eigenvalue")
    _lines(panels[-1], select.at_end(frame, ends[0]), _LOSSES)
    panels[-1].set_ylabel("loss")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    style.legend_below(figure, panels[0])
    return figure


def _lines(axes: Axes, rows: pd.DataFrame, columns: dict[str, str]) -> None:
    places = style.epoch_axis(axes, sorted(rows["epoch"].unique()))
    style.set_scale(axes, rows[list(columns.values())].to_numpy(float))
    for name, column in columns.items():
        label, colour, line = _LOOKS[name]
        axes.plot(rows["epoch"].map(places), rows[column], line, ms=3, color=colour, label=label)
