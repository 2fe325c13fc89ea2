"""The grid of panels that figures of batches have in common."""

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from truehessian import text
from truehessian.report.plots import style
from truehessian.report.tables import select


def by_end_and_size(
    frame: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, pd.Series], None],
    label: str,
    title: str | None,
    *,
    scaled: Sequence[str] = (),
    order: Sequence[str] = (),
) -> Figure:
    """Draw a row per end and a column per batch size, with the epochs along each panel.

    Parameters
    ----------
    frame
        Columns end, batch_size and epoch, and those that `draw` needs.
    draw
        Called with the axes of a panel, its rows, and where their epochs lie along it.
    label
        Of a row, with ``{end}`` in it.
    title
        Heading of the figure.
    scaled
        Columns whose values the scale of a row has to suit; none for a linear scale.
    order
        Labels of the legend that come first.
    """
    ends, sizes = style.ends_of(frame), sorted(frame["batch_size"].unique())
    width = max(style.DOUBLE_COLUMN / len(sizes), 1.9) if len(sizes) > 1 else style.SINGLE_COLUMN
    figure, panels = style.new_figure(
        len(ends), len(sizes), panel=(width, 2.2), sharex=True, sharey="row"
    )
    epochs = sorted(frame["epoch"].unique())
    for row, end in zip(panels, ends, strict=True):
        of_end = select.at_end(frame, end)
        if scaled:
            style.set_scale(row[0], of_end[list(scaled)].to_numpy(float))
        row[0].set_ylabel(label.format(end=end))
        for axes, size in zip(row, sizes, strict=True):
            places = style.epoch_axis(axes, epochs)
            of_size = of_end[of_end["batch_size"] == size]
            draw(axes, of_size, of_size["epoch"].map(places))
            axes.label_outer()
    for axes, size in zip(panels[0], sizes, strict=True):
        axes.set_title(f"B = {text.count(size)}")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    figure.align_ylabels(panels[:, 0])
    style.legend_below(figure, panels[0, 0], order=order)
    return figure
