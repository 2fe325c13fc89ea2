"""Figures of measured spectra: weighted Ritz values, and extremes over mini-batches."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from truehessian import text
from truehessian.report.plots import style
from truehessian.report.plots.style import BLACK, END_COLOURS, GREY, LIGHT_GREY
from truehessian.report.tables import select
from truehessian.spectra.spectrum import Spectrum

_LOWEST_WEIGHT = 1e-16  # squared first components below it are rounding errors
_AXES_WIDTH = 264.0  # of a stem plot, in points
_RIGHT_MARGIN = 18.0  # for half of a label of its last tick


@style.styled
def stem(
    ritz_values: NDArray,
    weights: NDArray,
    title: str | None = None,
    *,
    reference: tuple[float, float] | None = None,
    reference_name: str = "full data",
    other_folds: bool = False,
) -> Figure:
    """Draw Ritz values as stems as high as their weights, on a logarithmic axis.

    Parameters
    ----------
    ritz_values, weights
        Shape (probes, m), or (folds, probes, m), of which the first fold is drawn. The probes are
        pooled, each weight divided by their number. Where the weight is zero nothing is drawn:
        there the rows of probes that stopped earlier are NaN.
    title
        Heading of the figure.
    reference, reference_name
        Smallest and largest eigenvalue of another spectrum, drawn as dashed lines, and what it is.
    other_folds
        Draw the other folds as faint points.

    Returns
    -------
    Figure
        With the smallest and largest value written beside their stems.

    Raises
    ------
    ValueError
        `ritz_values` and `weights` differ in shape, are not 2- or 3-dimensional, or no weight is
        positive.
    """
    if ritz_values.shape != weights.shape or ritz_values.ndim not in (2, 3):
        raise ValueError(
            "ritz_values and weights must both have shape (probes, m) or (folds, probes, m), "
            f"got {ritz_values.shape} and {weights.shape}"
        )
    folds = ritz_values.reshape(-1, *ritz_values.shape[-2:])
    pooled = (weights / folds.shape[1]).reshape(folds.shape)
    if not (pooled[0] > 0).any():
        raise ValueError("weights must have a positive entry, got none: there is nothing to draw")
    figure, ((axes,),) = style.new_figure()
    floor = _floor(pooled[: None if other_folds else 1])
    style.log_axis(axes)
    axes.set_ylim(floor, 3)
    if other_folds:
        _points(axes, folds[1:], pooled[1:], color=LIGHT_GREY, markersize=2, label="other batches")
    _stems(axes, folds[0], pooled[0], floor)
    if reference is not None:
        for value, end in zip(reference, ("smallest", "largest"), strict=True):
            label = f"{reference_name}: {text.compact(value)}"
            axes.axvline(value, color=END_COLOURS[end], linestyle=(0, (4, 2)), lw=1, label=label)
    axes.set(xlabel="Ritz value", ylabel="weight")
    axes.set_title(title or "", y=1)  # else all labels are measured again to find its place
    style.set_margins(
        figure,
        left=40 if floor > 1e-10 else 43,  # a label such as 10⁻⁹ or 10⁻¹²
        right=_RIGHT_MARGIN,
        bottom=30.4,
        top=15.2 if title else 4,
        legend=style.legend_below(figure, axes),
    )
    return figure


@style.styled
def stacked_stems(
    spectra: Mapping[str, tuple[NDArray, NDArray]], title: str | None = None
) -> Figure:
    """Draw several spectra one below the other, on common axes.

    Parameters
    ----------
    spectra
        Ritz values and weights, both of shape (probes, m), by the heading of their panel. The
        probes are pooled, as in `stem`.
    title
        Heading of the figure.

    Raises
    ------
    ValueError
        There is no spectrum, or no weight of one is positive.
    """
    if not spectra or any(not (weights > 0).any() for _, weights in spectra.values()):
        raise ValueError("spectra must hold at least one, each with a positive weight")
    pooled = {
        name: (values.ravel(), (weights / len(weights)).ravel())
        for name, (values, weights) in spectra.items()
    }
    size = (style.SINGLE_COLUMN, 1.9)
    figure, panels = style.new_figure(len(spectra), panel=size, sharex=True, sharey=True)
    floor = _floor(np.concatenate([weights for _, weights in pooled.values()]))
    for axes, (name, (values, weights)) in zip(panels[:, 0], pooled.items(), strict=True):
        style.log_axis(axes)
        axes.set_ylim(floor, 3)
        _stems(axes, values, weights, floor)
        axes.set(ylabel="weight", title=name)
    panels[-1, 0].set_xlabel("Ritz value")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def stems_of(spectrum: Spectrum) -> pd.DataFrame:
    """Tabulate what `stem` draws of a spectrum, or of a stack of them: all stems with a weight.

    Returns
    -------
    DataFrame
        Columns fold and probe (from 0), ritz_value, and weight, which is 1 in sum for each probe.
    """
    shape = (-1, *spectrum.ritz_values.shape[-2:])
    values, weights = spectrum.ritz_values.reshape(shape), spectrum.weights.reshape(shape)
    fold, probe, _ = np.nonzero(weights > 0)
    shown = weights > 0
    columns = {"fold": fold, "probe": probe, "ritz_value": values[shown], "weight": weights[shown]}
    return pd.DataFrame(columns)


def _floor(weights: NDArray) -> float:
    """Where stems begin: half a decade below the decade of the lowest weight."""
    lowest = max(weights[weights > 0].min(), _LOWEST_WEIGHT)
    return 10.0 ** (math.floor(math.log10(lowest)) - 0.5)


def _points(axes: Axes, values: NDArray, weights: NDArray, **appearance: Any) -> None:
    shown = weights > 0
    heights = np.maximum(weights[shown], _LOWEST_WEIGHT)
    axes.plot(values[shown], heights, "o", **appearance)


def _stems(axes: Axes, values: NDArray, weights: NDArray, floor: float) -> None:
    shown = weights > 0
    places, heights = values[shown], np.maximum(weights[shown], _LOWEST_WEIGHT)
    axes.vlines(places, floor, heights, color=GREY, linewidth=0.7)
    axes.plot(places, heights, "o", color=BLACK, markersize=2.2)
    smallest, largest = places.argmin(), places.argmax()
    # Outwards of the extremes there is nothing that a number could cover: make room for it.
    longest = max(len(text.compact(places[index])) for index in (smallest, largest))
    share = (longest * 5.2 + 12) / _AXES_WIDTH
    axes.margins(x=share / (1 - 2 * share))
    sides = {"smallest": (smallest, "right", -5), "largest": (largest, "left", 5)}
    for end, (index, alignment, shift) in sides.items():
        if end == "smallest" and smallest == largest:
            continue
        axes.plot(places[index], heights[index], "o", color=END_COLOURS[end], markersize=4)
        axes.annotate(
            text.compact(places[index]),
            (places[index], heights[index]),
            xytext=(shift, 0),
            textcoords="offset points",
            ha=alignment,
            va="center",
            color=END_COLOURS[end],
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )


@style.styled
def boxplot(
    extremal: pd.DataFrame,
    batch_size: int,
    end: str,
    *,
    split: str = "train",
    title: str | None = None,
) -> Figure:
    """Draw the extremal Ritz values of mini-batch Hessians as one box per epoch.

    Boxes span the quartiles and whiskers reach to the last fold within 1.5 times that span;
    every fold is also a point, and the full-data value a diamond.

    Parameters
    ----------
    extremal
        Columns epoch, operator, split, batch_size, factor, end and value, as in the table of
        extremal Ritz values. Rows that are not of the Hessian are ignored.
    batch_size
        Which batches to draw.
    end
        `largest` or `smallest`.
    split
        `train` or `test`.
    title
        Heading of the figure; the batch size by default.

    Raises
    ------
    ValueError
        The table has no value for this batch size, end and split.
    """
    chosen = select.at_end(select.hessians(extremal, split), end).dropna(subset="value")
    batches = chosen[chosen["batch_size"] == batch_size]
    full = select.of_sample(chosen)
    if batches.empty:
        raise ValueError(
            f"batch_size must be one of {sorted(chosen['batch_size'].dropna().unique())} (the "
            f"batches measured at the {end} end of the {split} split), got {batch_size}"
        )
    figure, ((axes,),) = style.new_figure()
    style.set_scale(axes, pd.concat([batches["value"], full["value"]]))
    epochs = sorted({*batches["epoch"], *full["epoch"]})
    places = style.epoch_axis(axes, epochs)
    for epoch, values in batches.groupby("epoch")["value"]:
        _box(axes, values.to_numpy(), places[epoch], END_COLOURS[end])
    axes.plot(
        full["epoch"].map(places),
        full["value"],
        "D",
        markersize=5,
        markerfacecolor="white",
        markeredgecolor=BLACK,
        label="full data",
        zorder=4,
    )
    axes.set(
        ylabel=f"{end} Ritz value",
        title=f"B = {text.count(batch_size)}" if title is None else title,
    )
    style.legend_below(figure, axes)
    return figure


def boxes_of(extremal: pd.DataFrame, batch_size: int, end: str) -> pd.DataFrame:
    """Keep what `boxplot` draws of the training examples: all the data, and batches of a size."""
    chosen = select.at_end(select.hessians(extremal), end)
    batches = chosen["batch_size"] == batch_size
    return chosen[batches | (chosen["batch_size"].isna() & chosen["factor"].isna())]


def _box(axes: Axes, values: NDArray, place: int, colour: str) -> None:
    axes.boxplot(
        values,
        positions=[place],
        widths=0.5,
        manage_ticks=False,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.35, "linewidth": 0.7},
        medianprops={"color": colour, "linewidth": 1.6},
        whiskerprops={"linewidth": 0.7},
        capprops={"linewidth": 0.7},
    )
    # Spread in the order of the folds, not at random: the same figure every time.
    spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0]
    axes.plot(
        place + np.asarray(spread), values, "o", color=GREY, markersize=2.5, label="one batch"
    )
