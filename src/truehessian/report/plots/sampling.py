"""Figures of single batches: their distribution, their eigenvectors, and the noise itself."""

import functools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from truehessian.report.plots import style
from truehessian.report.plots.panels import by_end_and_size
from truehessian.report.plots.style import BLACK, END_COLOURS, GREEN, GREY, LIGHT_GREY
from truehessian.theory import laws, rmt
from truehessian.theory.predictions import PREDICTIONS
from truehessian.theory.predictions.base import QUANTILES

_LAWS = (
    ("semicircle_distance", "semicircle", "o", BLACK),
    ("marchenko_pastur_distance", "Marchenko-Pastur", "s", GREEN),
)


@style.styled
def distributions(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the measured extremes of batches as boxes, each beside the one drawn beforehand.

    Parameters
    ----------
    frame
        From `tables.sampling.outliers`; rank 1 is drawn. Boxes span the quartiles, whiskers the
        central 90 %.
    title
        Heading of the figure.
    """
    extremes = frame[frame["rank"] == 1]
    kinds = _kinds_of_boxes(extremes)
    values = [f"{kind}_{quantile}" for kind, *_ in kinds for quantile in QUANTILES]
    draw = functools.partial(_boxes, kinds)
    return by_end_and_size(extremes, draw, "{end}, eigenvalue", title, scaled=[*values, "full"])


@style.styled
def overlaps(frame: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the squared overlap of the extreme eigenvectors of batches with those of all the data.

    Parameters
    ----------
    frame
        From `tables.sampling.outliers`; rank 1 is drawn.
    title
        Heading of the figure.
    """
    return by_end_and_size(frame[frame["rank"] == 1], _turned, "{end}, squared overlap", title)


def _has(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool(frame[column].notna().any())


def _kinds_of_boxes(frame: pd.DataFrame) -> list[tuple[str, str, str, float]]:
    """Prefix of the columns, label, colour and place of what a table has quantiles of."""
    drawn = [
        entry
        for entry in PREDICTIONS.entries().values()
        if set(QUANTILES) <= {*entry.further} and _has(frame, f"{entry.name}_q50")
    ]
    boxes = [("batch", "measured", BLACK, -0.18)]
    for place, entry in zip(np.linspace(0.18, 0.36, max(len(drawn), 1)), drawn, strict=False):
        alone = len(drawn) == 1 and entry.name == "subspace"
        label = "drawn beforehand" if alone else f"{entry.label}, drawn beforehand"
        boxes.append((entry.name, label, style.colour(entry.colour), float(place)))
    return boxes


def _boxes(
    kinds: list[tuple[str, str, str, float]], axes: Axes, frame: pd.DataFrame, places: pd.Series
) -> None:
    for kind, label, colour, shift in kinds:
        quantiles = frame[[f"{kind}_{name}" for name in QUANTILES]].to_numpy(float)
        keys = ("whislo", "q1", "med", "q3", "whishi")
        whole = np.isfinite(quantiles).all(axis=1)
        if not whole.any():
            continue
        line: Any = {"color": colour, "linewidth": 0.9}
        axes.bxp(
            [dict(zip(keys, row, strict=True)) for row in quantiles[whole]],
            positions=(places[whole] + shift).to_numpy(),
            widths=0.26,
            showfliers=False,
            manage_ticks=False,
            boxprops=line,
            medianprops=line,
            whiskerprops=line,
            capprops=line,
        )
        axes.plot([], [], color=colour, linewidth=0.9, label=label)
    dashes: Any = {"color": LIGHT_GREY, "linewidth": 1.2, "zorder": 1.5, "label": "full data"}
    axes.hlines(frame["full"], places - 0.46, places + 0.46, **dashes)


def _turned(axes: Axes, frame: pd.DataFrame, places: pd.Series) -> None:
    error = frame["overlap_standard_error"].fillna(0)
    axes.errorbar(
        places - 0.05, frame["overlap"], error, fmt="o", color=BLACK, label="measured, mean ± s.e."
    )
    entries = [
        entry
        for entry in PREDICTIONS.entries().values()
        if entry.overlap is not None and _has(frame, f"overlap_{entry.name}")
    ]
    shifts = style.beside(len(entries), -0.3, (0.15, 0.3))
    for entry, shift in zip(entries, shifts, strict=True):
        look: Any = {"color": style.colour(entry.colour), "ms": 3.4, "label": entry.label}
        axes.plot(places + shift, frame[f"overlap_{entry.name}"], entry.marker, **look)
    axes.set_ylim(-0.05, 1.05)


@style.styled
def noise(
    frame: pd.DataFrame,
    scaling: pd.DataFrame,
    spectrum: tuple[NDArray, NDArray] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the noise against what it would be if it were alike in all directions.

    Parameters
    ----------
    frame
        From `tables.noise.noise`. First, its extremes over the edge of the semicircle; third, the
        Wasserstein distances of its spectrum from both laws; means over batches and folds.
    scaling
        From `tables.noise.scaling`. Second, the exponents with their intervals.
    spectrum
        Nodes and weights, shape (K,) each, of the noise of one batch. Last, its distribution
        function beside those of the laws with the same moments.
    title
        Heading of the figure.
    """
    rows = 1 if spectrum is None else 2
    figure, panels = style.new_figure(rows, 4 - rows, panel=(2.4 if rows == 1 else 3.2, 2.3))
    left, middle, right = panels.flat[:3]
    epochs = sorted(frame["epoch"].unique())
    places = style.epoch_axis(left, epochs)
    for end, colour in END_COLOURS.items():
        ratio = (frame[end].abs() / frame["edge"]).groupby(frame["epoch"]).mean()
        left.plot(ratio.index.map(places), ratio, "o-", color=colour, label=end)
    left.axhline(1, color=BLACK, linewidth=0.8, linestyle=(0, (3, 2)), label="expected")
    style.log_axis(left)
    left.set(ylabel="extreme of the noise / edge", title=title or "")
    _exponents(middle, scaling)
    style.epoch_axis(right, epochs)
    for column, label, marker, colour in _LAWS:
        distance = frame.groupby("epoch")[column].mean()
        right.plot(distance.index.map(places), distance, marker + "-", color=colour, label=label)
    right.set(ylabel="Wasserstein distance / s.d.")
    right.set_ylim(bottom=0)
    right.legend(loc="best")
    if spectrum is not None:
        _distribution_function(panels.flat[3], *spectrum)
    style.legend_below(figure, left)
    return figure


def _distribution_function(axes: Axes, nodes: NDArray, weights: NDArray) -> None:
    """Compare the measured share of eigenvalues below x with those of both laws."""
    mean = float(weights @ nodes)
    fitted = laws.fit_laws(nodes, weights)
    deviation, variance = fitted["semicircle_scale"], fitted["marchenko_pastur_variance"]
    axes.step(
        np.append(nodes - mean, 1e3 * deviation) / deviation,
        np.append(np.cumsum(weights), 1.0),
        where="post",
        color=GREY,
        linewidth=1.6,
        label="measured",
    )
    levels = np.linspace(0.0, 1.0, 401)
    axes.plot(rmt.Semicircle(0.0, 1.0).quantile(levels), levels, color=BLACK, label="semicircle")
    if np.isfinite(variance):
        law = rmt.MarchenkoPastur(fitted["marchenko_pastur_ratio"], abs(variance))
        places = np.sign(variance) * (law.quantile(levels) - law.variance) / deviation
        shares = levels if variance > 0 else 1 - levels
        axes.plot(places, shares, color=GREEN, label="Marchenko-Pastur")
    axes.set(xlim=(-2.6, 2.6), xlabel="eigenvalue / s.d.", ylabel="share below")
    axes.legend(loc="lower right")


def _exponents(axes: Axes, scaling: pd.DataFrame) -> None:
    together = scaling[scaling["epoch"] == scaling["epoch"].iloc[-1]] if len(scaling) else scaling
    heights = range(len(together))
    half = np.nan_to_num(together["high"] - together["exponent"])
    axes.errorbar(together["exponent"], heights, xerr=half, fmt="o", color=BLACK)
    axes.axvline(0.5, color=BLACK, linewidth=0.8, linestyle=(0, (3, 2)))
    labels = together["quantity"].str.replace("_", " ").str.removesuffix(" norm")
    axes.set_yticks(list(heights), labels.str.capitalize().tolist())
    axes.set_ylim(-0.6, max(len(together), 1) - 0.4)
    axes.set_xlabel("exponent of 1/B \N{MINUS SIGN} 1/N")
