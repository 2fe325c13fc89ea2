"""Figures of what sampling does: the Hessian variance, and predictions beside measurements."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from truehessian.report.plots import style
from truehessian.report.plots.panels import by_end_and_size
from truehessian.report.plots.style import (
    BLACK,
    BLUE,
    LIGHT_GREY,
    VERMILLION,
    Appearance,
)
from truehessian.report.tables import select
from truehessian.theory.predictions import PREDICTIONS

_MEASURED_SHIFT = -0.09


@style.styled
def variance(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the Hessian variance against the epoch, along random and along extremal directions.

    Parameters
    ----------
    frame
        Columns epoch, direction (`random-1`, ..., `top-1`, `bottom-1`), variance V(u) and
        standard_error; with num_parameters P, a second axis gives V / P, which for random
        directions is the element variance. Several random directions are averaged, and the
        error bar is then the standard error of that mean.
    title
        Heading of the figure.
    """
    figure, ((axes,),) = style.new_figure()
    places = style.epoch_axis(axes, sorted(frame["epoch"].unique()))
    series = (
        ("top-1", "top Ritz vector", "^", VERMILLION),
        ("bottom-1", "bottom Ritz vector", "v", BLUE),
        ("random", "random, Pσ²", "o", BLACK),
    )
    for direction, label, marker, colour in series:
        means = mean_variance(frame, direction)
        axes.errorbar(
            means["epoch"].map(places),
            means["variance"],
            means["standard_error"].fillna(0),
            marker=marker,
            color=colour,
            label=label,
        )
    style.log_axis(axes)
    axes.set(ylabel="variance V(u)", title=title or "")
    if "num_parameters" in frame and frame["num_parameters"].nunique() == 1:
        order = float(frame["num_parameters"].iloc[0])
        right = axes.secondary_yaxis(
            "right", functions=(lambda value: value / order, lambda value: value * order)
        )
        style.label_decades(right.yaxis)
        right.set_ylabel("per element, V(u) / P")
    style.legend_below(figure, axes)
    return figure


def mean_variance(frame: pd.DataFrame, direction: str) -> pd.DataFrame:
    """Average the variance of each epoch over the directions of one kind.

    Parameters
    ----------
    frame
        Columns epoch, direction, variance and standard_error.
    direction
        `random` for all random directions, or one direction, such as `top-1`.

    Returns
    -------
    DataFrame
        Columns epoch, variance and standard_error. Over several directions the error is that of
        their mean; for a single one, it is that of the table.
    """
    chosen = frame[frame["direction"] == direction]
    if direction == "random":
        chosen = select.along_random(frame)
    by_epoch = chosen.dropna(subset="variance").groupby("epoch")
    several = by_epoch["variance"].sem()
    error = several.fillna(by_epoch["standard_error"].first())
    mean = by_epoch["variance"].mean()
    return pd.DataFrame({"variance": mean, "standard_error": error}).reset_index()


@style.styled
def theory_vs_empirical(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw measured mini-batch extremes and what was predicted, a panel per end and batch size.

    Parameters
    ----------
    frame
        Columns epoch, batch_size, end, full, batch_mean, batch_standard_error,
        batch_standard_deviation, those of the predictions, and chosen (the name of a prediction,
        which gets a ring). Missing predictions are left out. Weyl's bound is not drawn: it is so
        wide that nothing else could be told apart.
    title
        Heading of the figure.
    """
    labels = [entry.label for entry in PREDICTIONS.entries().values()]
    return by_end_and_size(
        frame,
        _measurements_and_predictions,
        "{end} eigenvalue",
        title,
        scaled=["full", "batch_mean", *(set(PREDICTIONS) & set(frame.columns))],
        order=("measured, mean ± s.e.", "measured, ± s.d.", "full data", *labels),
    )


def _measurements_and_predictions(axes: Axes, frame: pd.DataFrame, places: pd.Series) -> None:
    full: Appearance = {
        "color": BLACK,
        "linewidth": 0.8,
        "linestyle": (0, (3, 2)),
        "label": "full data",
    }
    axes.hlines(frame["full"], places - 0.46, places + 0.46, **full)
    entries = {
        name: entry
        for name, entry in PREDICTIONS.entries().items()
        if name in frame and frame[name].notna().any()
    }
    shifts = style.beside(len(entries), -0.32, (0.14, 0.36))
    for (column, entry), shift in zip(entries.items(), shifts, strict=True):
        look: Appearance = {"color": style.colour(entry.colour), "ms": 3.4, "label": entry.label}
        axes.plot(places + shift, frame[column], entry.marker, **look)
        chosen = frame["chosen"] == column
        if chosen.any():
            ring: Appearance = {
                "ms": 6.8,
                "mfc": "none",
                "mec": BLACK,
                "mew": 0.6,
                "label": "chosen beforehand",
            }
            axes.plot(places[chosen] + shift, frame.loc[chosen, column], "o", **ring)
    centre, mean = places + _MEASURED_SHIFT, frame["batch_mean"]
    deviation = frame["batch_standard_deviation"].fillna(0)
    error = frame["batch_standard_error"].fillna(0)
    spread: Appearance = {"ecolor": LIGHT_GREY, "elinewidth": 3.4, "capsize": 0, "zorder": 1.5}
    axes.errorbar(centre, mean, deviation, fmt="none", label="measured, ± s.d.", **spread)
    precise: Appearance = {"color": BLACK, "markersize": 3.4, "elinewidth": 1, "zorder": 3}
    axes.errorbar(centre, mean, error, fmt="o", label="measured, mean ± s.e.", **precise)
