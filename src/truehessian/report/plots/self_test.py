"""Figure of the estimators' self-test: their bias where the truth is known."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from truehessian.report.plots import style
from truehessian.report.plots.style import GREY, Appearance
from truehessian.report.tables import select
from truehessian.theory.estimates import ESTIMATORS


@style.styled
def self_test(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the bias of every estimator against the size of the subsample, relative to the truth.

    Parameters
    ----------
    frame
        Columns epoch, num_examples, end, estimator, truth, bias and bias_standard_error. A panel
        per epoch and end; positive is outwards, away from zero. Missing biases are left out.
    title
        Heading of the figure.
    """
    ends = style.ends_of(frame)
    epochs = sorted(frame["epoch"].unique())
    figure, panels = style.new_figure(
        len(epochs), len(ends), panel=(style.DOUBLE_COLUMN / 2, 1.6), sharex=True
    )
    sizes = sorted(frame["num_examples"].unique())
    for row, epoch in zip(panels, epochs, strict=True):
        for axes, end in zip(row, ends, strict=True):
            chosen = select.at_end(select.at_epoch(frame, epoch), end)
            style.size_axis(axes, sizes)
            _biases(axes, chosen)
            axes.set_title(f"epoch {epoch}, {end}")
            axes.label_outer()
            axes.tick_params(labelleft=True)  # each panel has a scale of its own
        row[0].set_ylabel("bias / |truth|")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    style.legend_below(figure, panels[0, 0])
    return figure


def _biases(axes: Axes, frame: pd.DataFrame) -> None:
    axes.axhline(0, color=GREY, linewidth=0.5, zorder=0)
    known = [name for name in ESTIMATORS if (frame["estimator"] == name).any()]
    for number, name in enumerate(known):
        look = ESTIMATORS.load(name)
        rows = frame[frame["estimator"] == name].sort_values("num_examples")
        # Estimators of one size stand side by side; a few per cent on the logarithmic axis.
        beside = rows["num_examples"] * 1.04 ** (number - (len(known) - 1) / 2)
        outward = 1 / rows["truth"]  # the sign too: a bias away from zero is positive
        colour = style.colour(look.colour)
        bars: Appearance = {"marker": look.marker, "color": colour, "label": look.label}
        axes.errorbar(
            beside,
            rows["bias"] * outward,
            (rows["bias_standard_error"] * outward.abs()).fillna(0),
            linewidth=0.6,
            markersize=3.6,
            **bars,
        )
