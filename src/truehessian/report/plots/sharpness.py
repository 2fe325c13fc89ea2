"""Figures of stability: curvature along gradients, and how far leading subspaces turn."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from truehessian import text
from truehessian.report.plots import style
from truehessian.report.plots.style import BLACK, GREY, LIGHT_GREY, VERMILLION, Appearance

_LIMITS = {
    "limit_large_batches": ("2(1 + β)/η", "--"),
    "limit": ("2/η", "-"),
    "limit_small_batches": ("2(1 − β)/η", ":"),
}
_SIDES = {"top": "largest", "bottom": "smallest"}
_MOST_NUMBERED = 8  # epochs whose overlaps can be read as numbers


def sharpness(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw curvature along gradients against the epoch, beside the limits of the learning rate.

    Parameters
    ----------
    frame
        Columns epoch, batch_size (missing for all the data), sharpness,
        sharpness_standard_error, largest, the limits and `preconditioned` with its limit.
    title
        Heading of the figure.
    """
    figure, ((axes,),) = style.new_figure(panel=(style.DOUBLE_COLUMN, 3.2))
    places = style.epoch_axis(axes, sorted(frame["epoch"].unique()))
    full = frame[frame["batch_size"].isna()]
    at = full["epoch"].map(places)
    drawn = [*_LIMITS, "sharpness", "largest", "preconditioned", "preconditioned_limit"]
    style.set_scale(axes, full[drawn].to_numpy(float))
    for column, (label, line) in _LIMITS.items():
        if full[column].notna().any():
            _steps(axes, at, full[column], color=GREY, linestyle=line, label=label)
    axes.plot(at, full["largest"], "s-", color=BLACK, ms=3, label="largest eigenvalue, all data")
    label = "along the gradient of all data"
    axes.plot(at, full["sharpness"], "D-", color=VERMILLION, ms=3, label=label)
    batches = frame.dropna(subset="batch_size")
    sizes = sorted(batches["batch_size"].unique())
    for size, colour in zip(sizes, seaborn.color_palette("viridis", len(sizes)), strict=True):
        rows = batches[batches["batch_size"] == size]
        label = f"batch sharpness, B = {text.count(int(size))}"
        how: Appearance = {"fmt": "o-", "ms": 3, "linewidth": 0.9, "color": colour}
        error = rows["sharpness_standard_error"]
        axes.errorbar(rows["epoch"].map(places), rows["sharpness"], error, **how, label=label)
    if full["preconditioned"].notna().any():
        label = "largest eigenvalue in Adam's geometry"
        axes.plot(at, full["preconditioned"], "^-", color="tab:purple", ms=3, label=label)
        limit: Appearance = {"color": "tab:purple", "linestyle": "--", "label": "limit of Adam"}
        _steps(axes, at, full["preconditioned_limit"], **limit)
    axes.set_ylabel("curvature")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    style.legend_below(figure, axes)
    return figure


def _steps(axes: Axes, places: pd.Series, values: pd.Series, **how: Any) -> None:
    """Draw what holds for the steps that led to each epoch, as wide as its slot."""
    axes.step(places, values, where="mid", linewidth=0.9, zorder=0, **how)


def subspace_overlaps(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the overlaps of leading subspaces between all pairs of epochs, one panel per end.

    Parameters
    ----------
    frame
        Columns end (top, bottom), epoch, other_epoch (not before it), dimension and overlap.
    title
        Heading of the figure.
    """
    ends = [end for end in _SIDES if (frame["end"] == end).any()]
    panel = (style.DOUBLE_COLUMN / 2, 3.0)
    figure, ((*panels,),) = style.new_figure(1, len(ends), panel=panel)
    epochs = sorted(frame["epoch"].unique())
    for axes, end in zip(panels, ends, strict=True):
        rows = frame[frame["end"] == end]
        half = rows.pivot_table(index="epoch", columns="other_epoch", values="overlap")
        half = half.reindex(index=epochs, columns=epochs)
        whole = np.where(half.isna(), half.T, half)
        drawn = axes.imshow(whole, vmin=0, vmax=1, cmap="viridis")
        ticks = range(len(epochs))
        axes.set_xticks(ticks, [str(epoch) for epoch in epochs])
        axes.set_yticks(ticks, [str(epoch) for epoch in epochs])
        axes.set(xlabel="epoch", ylabel="epoch")
        axes.set_title(f"{rows['dimension'].iloc[0]} {_SIDES[end]} eigenvalues")
        if len(epochs) <= _MOST_NUMBERED:
            _write(axes, whole)
    figure.colorbar(drawn, ax=panels, shrink=0.8, label="overlap of subspaces")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def _write(axes: Axes, values: np.ndarray) -> None:
    """Write numbers into cells, legible on dark and light ones."""
    for (row, column), value in np.ndenumerate(values):
        colour = BLACK if value > 0.6 else LIGHT_GREY
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
