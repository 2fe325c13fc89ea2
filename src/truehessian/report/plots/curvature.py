"""Figures of the true Hessian: extremes against sample size, and held-out curvature."""

import math
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from truehessian.report.plots import style
from truehessian.report.plots.style import BLACK, GREEN, GREY, ORANGE, VERMILLION, Appearance
from truehessian.report.tables import select
from truehessian.theory.estimates import ESTIMATORS

_MOST_LABELLED_EPOCHS = 8


@style.styled
def shrinkage(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw extremal eigenvalues against the number of examples, one line per epoch.

    Parameters
    ----------
    frame
        Columns epoch, end, num_examples T, value, and the two fitted laws: inherent_limit +
        inherent_slope / T with interval inherent_low to inherent_high of the limit, and
        vanishing_coefficient / sqrt(T). The laws are drawn for the last epoch that has them, on
        the original examples. With a column data, augmented ones (hollow) are set apart from them.
    title
        Heading of the figure.
    """
    ends = style.ends_of(frame)
    figure, ((*panels,),) = style.new_figure(
        1, len(ends), panel=(max(style.DOUBLE_COLUMN / 2, style.SINGLE_COLUMN / len(ends)), 2.8)
    )
    epochs = sorted(frame["epoch"].unique())
    colours = seaborn.color_palette("viridis_r", len(epochs))
    stride = math.ceil(len(epochs) / _MOST_LABELLED_EPOCHS)
    for axes, end in zip(panels, ends, strict=True):
        of_end = select.at_end(frame, end)
        style.set_scale(axes, of_end["value"])
        style.size_axis(axes, sorted(frame["num_examples"].unique()))
        for place, (epoch, colour) in enumerate(zip(epochs, colours, strict=True)):
            at_epoch = select.at_epoch(of_end, epoch)
            label = f"epoch {epoch}" if place % stride == 0 else None
            _values(axes, at_epoch, colour, label)
        _laws(axes, of_end)
        axes.set_ylabel(f"{end} Ritz value")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    style.legend_below(figure, panels[0])
    return figure


def _values(axes: Axes, frame: pd.DataFrame, colour: Any, label: str | None) -> None:
    """Draw the values of one epoch; several subsets of one size are one point: their mean."""
    augmented = _is_augmented(frame)
    values = frame[~augmented].groupby("num_examples")["value"].mean()
    axes.plot(values.index, values, "o-", ms=3.4, color=colour, label=label)
    others = frame[augmented].groupby("num_examples")["value"].mean()
    joined = pd.concat([values.iloc[-1:], others])
    if len(others):
        axes.plot(joined.index, joined, ":", linewidth=0.8, color=colour)
        hollow: Appearance = {"markerfacecolor": "white", "markeredgecolor": colour}
        axes.plot(others.index, others, "s", ms=3.6, **hollow)


def _is_augmented(frame: pd.DataFrame) -> pd.Series:
    if "data" not in frame:
        return pd.Series(False, index=frame.index)
    return frame["data"] == "augmented"


def _laws(axes: Axes, frame: pd.DataFrame) -> None:
    frame = frame[~_is_augmented(frame)]
    fitted = frame.dropna(subset=["inherent_limit", "inherent_slope", "vanishing_coefficient"])
    if fitted.empty:
        return
    last = select.last_epoch(fitted)
    sizes = np.geomspace(last["num_examples"].min(), last["num_examples"].max(), 200)
    law = last.iloc[0]
    limits = axes.get_ylim()  # the data set the scale; a law that misses them may leave the panel
    inherent = law["inherent_limit"] + law["inherent_slope"] / sizes
    vanishing = law["vanishing_coefficient"] / np.sqrt(sizes)
    if np.isfinite(law[["inherent_low", "inherent_high"]].astype(float)).all():
        band: Appearance = {"color": ORANGE, "alpha": 0.2, "linewidth": 0, "zorder": 0}
        axes.axhspan(law["inherent_low"], law["inherent_high"], **band, label="interval of ℓ")
    axes.plot(sizes, inherent, "--", color=ORANGE, label="fit ℓ + a/T", zorder=3)
    axes.plot(sizes, vanishing, ":", color=BLACK, label="fit c/√T", zorder=3)
    axes.set_ylim(limits)


@style.styled
def true_hessian(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the extremal eigenvalues of the training Hessian beside estimates of the true ones.

    Parameters
    ----------
    frame
        Columns epoch, end, rank, empirical, inverted_goe, inverted_directional, held_out,
        held_out_standard_error, bracket_low and bracket_high; only rank 1 is drawn. Missing
        estimates are left out, as are the columns test, cross_validated, cross_validated_low and
        cross_validated_high where there are none.
    title
        Heading of the figure.
    """
    outermost = frame[frame["rank"] == 1]
    ends = style.ends_of(outermost)
    figure, ((*panels,),) = style.new_figure(1, len(ends), panel=(style.DOUBLE_COLUMN / 2, 2.8))
    epochs = sorted(outermost["epoch"].unique())
    estimates = ["empirical", "inverted_goe", "inverted_directional", "held_out"]
    for axes, end in zip(panels, ends, strict=True):
        of_end = select.at_end(outermost, end)
        style.set_scale(axes, of_end[[*estimates, "bracket_low", "bracket_high"]].to_numpy(float))
        places = style.epoch_axis(axes, epochs)
        _estimates(axes, of_end, of_end["epoch"].map(places))
        axes.set_ylabel(f"{end} eigenvalue")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    order = ("training data", "test data", "held out, ± s.e.", "bracket of the true value")
    style.legend_below(figure, panels[0], order=order)
    return figure


def _estimates(axes: Axes, frame: pd.DataFrame, places: pd.Series) -> None:
    if axes.get_yscale() != "log":
        axes.axhline(0, color=GREY, linewidth=0.5, zorder=0)
    brackets = frame[["bracket_low", "bracket_high"]].dropna()
    band: Appearance = {"facecolor": GREEN, "edgecolor": GREEN, "alpha": 0.3, "linewidth": 0.8}
    for place, (low, high) in zip(places[brackets.index], brackets.to_numpy(float), strict=True):
        corner, height = (place - 0.44, min(low, high)), abs(high - low)
        axes.add_patch(Rectangle(corner, 0.88, height, **band, label="bracket of the true value"))
    hollow: Appearance = {
        "markerfacecolor": "white",
        "markeredgecolor": BLACK,
        "label": "training data",
    }
    axes.plot(places - 0.3, frame["empirical"], "D", markersize=4, **hollow)
    axes.errorbar(
        places - 0.06,
        frame["held_out"],
        frame["held_out_standard_error"].fillna(0),
        fmt="o",
        markersize=3.6,
        color=BLACK,
        label="held out, ± s.e.",
    )
    if "test" in frame and frame["test"].notna().any():
        across: Appearance = {"color": VERMILLION, "linewidth": 1, "label": "test data"}
        axes.hlines(frame["test"], places - 0.44, places + 0.44, **across)
    _cross_validated(axes, frame, places + 0.05)
    for name, shift in (("goe", 0.15), ("directional", 0.33)):
        column, entry = f"inverted_{name}", ESTIMATORS.load(name)
        if frame[column].notna().any():
            look: Appearance = {"color": style.colour(entry.colour), "label": entry.label}
            axes.plot(places + shift, frame[column], entry.marker, ms=3.6, **look)


def _cross_validated(axes: Axes, frame: pd.DataFrame, places: pd.Series) -> None:
    if "cross_validated" not in frame or frame["cross_validated"].isna().all():
        return
    value = frame["cross_validated"]
    reach = [value - frame["cross_validated_low"], frame["cross_validated_high"] - value]
    star: Appearance = {"fmt": "*", "markersize": 4.5, "color": VERMILLION}
    axes.errorbar(places, value, reach, label="cross-validated, 90 %", **star)
