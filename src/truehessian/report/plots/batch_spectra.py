"""Figures of whole spectra of batches, predicted and measured."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from truehessian import text
from truehessian.report.plots import style
from truehessian.report.plots.style import BLACK, GREY
from truehessian.report.tables.spectral_curves import LEAST, MEASURED
from truehessian.theory.batch_spectra import BATCH_SPECTRA

_LOWEST = 1e-4  # of the highest density
_ROWS = {"density": "density", "count": "eigenvalues beyond"}
_ERRORS = 2  # standard errors on either side in the band
_TICKS = 2  # of powers of ten on either side of zero, at most
_CLEAR = 0.5  # decades that the first of them stays away from where the axis is linear


@style.styled
def batch_spectra(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw densities above counts, a column for each batch size.

    Parameters
    ----------
    frame
        From `spectral_curves.curves`.
    title
        Heading of the figure.
    """
    sizes = sorted(frame["batch_size"].unique())
    panel = (max(style.DOUBLE_COLUMN / len(sizes), 2.1), 2.0)
    figure, panels = style.new_figure(len(_ROWS), len(sizes), panel=panel)
    for row, (quantity, label) in zip(panels, _ROWS.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, size in zip(row, sizes, strict=True):
            shown = (frame["batch_size"] == size) & (frame["quantity"] == quantity)
            _draw(axes, frame[shown], quantity)
    for axes, size in zip(panels[0], sizes, strict=True):
        axes.set_title(f"B = {text.count(size)}")
    for axes in panels[-1]:
        axes.set_xlabel("eigenvalue")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    style.set_margins(
        figure,
        left=44,
        right=8,
        bottom=32,
        top=36 if title else 20,
        legend=style.legend_below(figure, panels[0, -1], order=[MEASURED]),
    )
    figure.subplots_adjust(wspace=0.28, hspace=0.22)
    return figure


def _draw(axes: Axes, frame: pd.DataFrame, quantity: str) -> None:
    entries = BATCH_SPECTRA.entries()
    measured = frame[frame["curve"] == MEASURED]
    top = float(measured["value"].max())
    floor = _LOWEST * top if quantity == "density" else LEAST
    error = _ERRORS * np.nan_to_num(measured["standard_error"])
    low, high = (np.maximum(measured["value"] + sign * error, floor) for sign in (-1, 1))
    axes.fill_between(measured["eigenvalue"], low, high, color=GREY, alpha=0.6, linewidth=0)
    axes.plot(measured["eigenvalue"], measured["value"], color=BLACK, linewidth=1.6, label=MEASURED)
    for name, curve in frame[frame["curve"] != MEASURED].groupby("curve", sort=False):
        entry = entries[str(name)]
        look = {"linestyle": entry.dashes, "color": style.colour(entry.colour)}
        line = Line2D(curve["eigenvalue"], curve["value"], linewidth=1, label=entry.label, **look)
        axes.add_line(line)
    style.log_axis(axes)
    axes.yaxis.set_minor_locator(NullLocator())  # a third of the time to draw them all
    axes.set_ylim(floor, 3 * top)
    if quantity == "count":
        _both_sides(axes, frame["eigenvalue"].to_numpy(float))


def _both_sides(axes: Axes, places: np.ndarray) -> None:
    """Make the axis logarithmic on both sides of zero, with a few powers of ten."""
    nearest, reach = float(np.abs(places).min()), float(np.abs(places).max())
    axes.set_xscale("symlog", linthresh=10 * nearest, linscale=0.5)
    axes.set_xlim(-reach, reach)
    last = math.floor(math.log10(reach))
    powers = range(last, math.floor(math.log10(10 * nearest) + _CLEAR), -1)
    shown = list(powers)[:: max(1, math.ceil(len(powers) / _TICKS))]
    labels = {sign * 10.0**power: (sign, power) for sign in (-1, 1) for power in shown}
    minus = {-1: "\N{MINUS SIGN}", 1: ""}
    names = [f"{minus[sign]}10{text.superscript(power)}" for sign, power in labels.values()]
    axes.set_xticks([0.0, *labels], ["0", *names])
    axes.set_xticks([], minor=True)
