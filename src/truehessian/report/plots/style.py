"""What all figures share: fonts, colours, axes, legends, and how they are saved."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    AutoMinorLocator,
    LogFormatterSciNotation,
    LogLocator,
    NullFormatter,
    SymmetricalLogLocator,
)
from numpy.typing import ArrayLike

from truehessian import text

SINGLE_COLUMN = 4.5
DOUBLE_COLUMN = 7.2

# Told apart by readers with any kind of colour vision; markers repeat what colours say.
BLUE, ORANGE, GREEN, VERMILLION, PINK, _, _, GREY = seaborn.color_palette("colorblind", 8).as_hex()
BLACK, LIGHT_GREY = "#222222", "#c8c8c8"
# By the names that predictions and estimators give theirs.
COLOURS = {
    "black": BLACK,
    "blue": BLUE,
    "green": GREEN,
    "orange": ORANGE,
    "pink": PINK,
    "vermillion": VERMILLION,
}
END_COLOURS = {"largest": VERMILLION, "smallest": BLUE}

_RC: Any = seaborn.axes_style("ticks") | {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.edgecolor": BLACK,
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.minor.size": 2,
    "ytick.minor.size": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",  # looks the same wherever it is embedded
    "svg.hashsalt": "truehessian",
}
Appearance = dict[str, Any]  # keyword arguments of an artist

P = ParamSpec("P")
R = TypeVar("R")

_WIDEST_LINEAR_RATIO = 50  # beyond it the small values of a linear axis can no longer be read


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a drawing function use the project's style and no other, and leave the caller's alone.

    Inside, matplotlib's own defaults hold wherever the style says nothing, whatever a matplotlibrc
    or the caller has set: figures are the same on every machine, and need no LaTeX.
    """

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.style.context(["default", _RC]):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(
    rows: int = 1, columns: int = 1, *, panel: tuple[float, float] | None = None, **grid: Any
) -> tuple[Figure, np.ndarray]:
    """Make a figure outside pyplot, with a grid of axes of shape (rows, columns).

    `panel` is the width and height of one panel in inches; without it, the figure is one text
    column wide. `grid` goes to `Figure.subplots`.
    """
    width, height = panel or (SINGLE_COLUMN / columns, 2.8)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def colour(name: str) -> str:
    """Find a colour of `COLOURS`; any other name is left to matplotlib."""
    return COLOURS.get(name, name)


def beside(count: int, left: float, right: tuple[float, float]) -> list[float]:
    """Give predictions places around a measurement in the slot of an epoch.

    The first stands to the left of it, the others are spread over what is free on the right.
    """
    return [left, *np.linspace(*right, max(count - 1, 1)).tolist()][:count]


def ends_of(frame: pd.DataFrame) -> list[str]:
    """List the ends of the spectrum that a table has rows of, the largest first."""
    ends = [end for end in END_COLOURS if (frame["end"] == end).any()]
    if not ends:
        raise ValueError(f"the table must have rows with end in {list(END_COLOURS)}, got none")
    return ends


def set_scale(axes: Axes, values: ArrayLike) -> None:
    """Scale the y axis so that small and large values are both legible.

    Linear, unless the magnitudes of `values` span more than a factor of 50; then logarithmic if
    all are positive, and otherwise symmetric logarithmic, linear below the smallest magnitude
    (but for at most four decades).
    """
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array) & (array != 0)]
    magnitudes = np.abs(finite)
    if finite.size == 0 or magnitudes.max() < _WIDEST_LINEAR_RATIO * magnitudes.min():
        axes.yaxis.set_minor_locator(AutoMinorLocator(2))
        return
    between = range(2, 10)
    if (finite > 0).all() and not (array == 0).any():
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(LogLocator(subs=between, numticks=99))
    else:
        smallest = max(magnitudes.min(), magnitudes.max() * 1e-4)
        scale: Appearance = {"base": 10, "linthresh": 10.0 ** math.floor(math.log10(smallest))}
        axes.set_yscale("symlog", **scale, linscale=0.5)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(**scale))
        axes.yaxis.set_minor_locator(SymmetricalLogLocator(**scale, subs=between))
    axes.yaxis.set_major_formatter(_decade)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.08)


def _decade(value: float, _: float) -> str:
    if value == 0 or 1e-3 <= abs(value) <= 1e3:
        return text.compact(value)
    sign = "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}10{text.superscript(round(math.log10(abs(value))))}"


class _PlainLogFormatter(LogFormatterSciNotation):
    """Labels of a logarithmic axis in plain text, without matplotlib's slow parser of formulas."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Give what the formula of the superclass shows: 10⁻³ for 10^{-3}."""
        formula = super().__call__(x, pos).removeprefix(r"$\mathdefault{").removesuffix("}$")
        mantissa, _, exponent = formula.partition("^")
        mantissa = mantissa.replace(r"\times", "\N{THIN SPACE}×\N{THIN SPACE}")
        raised = text.superscript(int(exponent.strip("{}"))) if exponent else ""
        return mantissa.replace("-", "\N{MINUS SIGN}") + raised


def log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, labelled as by matplotlib but in plain text."""
    axes.set_yscale("log")
    label_decades(axes.yaxis)


def label_decades(axis: Axis) -> None:
    """Label a logarithmic axis in plain text."""
    axis.set_major_formatter(_PlainLogFormatter())
    axis.set_minor_formatter(_PlainLogFormatter(labelOnlyBase=False))


def epoch_axis(axes: Axes, epochs: Sequence[int]) -> dict[Any, int]:
    """Give every epoch a place on the x axis, evenly spaced, and return the places."""
    stride = math.ceil(len(epochs) / 12)
    ticks = range(0, len(epochs), stride)
    axes.set_xticks(ticks, [str(epochs[tick]) for tick in ticks])
    margin = max(0.6, (3 - len(epochs)) / 2)  # a lone box must not fill the panel
    axes.set_xlim(-margin, len(epochs) - 1 + margin)
    axes.set_xlabel("epoch")
    return {epoch: place for place, epoch in enumerate(epochs)}


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Make the x axis logarithmic with ticks at sample sizes, the largest first, as room allows."""
    axes.set_xscale("log")
    room = 0.2 * math.log(max(sizes) / min(sizes))
    ticks: list[int] = []
    for size in sorted(sizes, reverse=True):
        if not ticks or math.log(ticks[-1] / size) >= room:
            ticks.append(size)
    axes.set_xticks(ticks, [text.count(size) for size in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("number of examples")


def set_margins(
    figure: Figure, *, left: float, right: float, bottom: float, top: float, legend: int = 0
) -> None:
    """Place the panels of a figure by margins in points, and never measure texts to find them.

    `legend` is the number of rows of a legend below, whose room is added to that at the bottom.
    """
    figure.set_layout_engine(None)
    width, height = 72 * figure.get_size_inches()
    bottom += 12.4 * legend + 8.4 if legend else 0
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height
    )


def legend_below(figure: Figure, axes: Axes, *, order: Sequence[str] = ()) -> int:
    """Put the labelled artists of one panel, once each, in a legend under the figure.

    Labels in `order` come first; there are as many columns as fit into the figure's width. Returns
    the number of its rows, 0 without a legend.
    """
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = [label for label in order if label in handles]
    labels += [label for label in handles if label not in labels]
    if not labels:
        return 0
    columns = _columns(labels, 72 * figure.get_figwidth())
    handles_in_order = [handles[label] for label in labels]
    figure.legend(handles_in_order, labels, loc="outside lower center", ncols=columns)
    return math.ceil(len(labels) / columns)


def _columns(labels: Sequence[str], width: float) -> int:
    for columns in range(len(labels), 1, -1):
        chunks = np.array_split(labels, columns)
        # A column takes its widest text, about 4.7 pt a letter, and 34 pt for handle and gaps.
        if sum(4.7 * max(map(len, chunk)) + 34 for chunk in chunks) <= width:
            return columns
    return 1
