"""Figures of the training of a network."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from truehessian.report.measures import is_fraction, label, measure_in
from truehessian.report.plots import style
from truehessian.report.plots.style import BLUE, VERMILLION


@style.styled
def learning_curves(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the loss on the training and test data against the epoch, and the measure beside it.

    Parameters
    ----------
    frame
        Columns epoch, train_loss and test_loss, and, if there is a measure, train_accuracy and
        test_accuracy (which are fractions), or those of another one such as r_squared.
    title
        Heading of the figure.
    """
    measure = measure_in(frame)
    quantities = ["loss"] if measure is None else ["loss", measure]
    panel = (style.DOUBLE_COLUMN / 2, 2.4)
    figure, ((*panels,),) = style.new_figure(1, len(quantities), panel=panel)
    marker = "o" if len(frame) <= 12 else ""
    for axes, quantity in zip(panels, quantities, strict=True):
        for split, colour, line in (("train", BLUE, "-"), ("test", VERMILLION, "--")):
            axes.plot(
                frame["epoch"],
                frame[f"{split}_{quantity}"],
                line,
                marker=marker,
                markersize=3,
                color=colour,
                label={"train": "training data", "test": "test data"}[split],
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=label(quantity))
    style.set_scale(panels[0], frame[["train_loss", "test_loss"]].to_numpy(float))
    if measure is not None and is_fraction(measure):
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    style.legend_below(figure, panels[0])
    return figure
