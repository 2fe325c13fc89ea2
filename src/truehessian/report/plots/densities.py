"""Figures of spectral densities."""

import numpy as np
from matplotlib.figure import Figure

from truehessian.report.plots import style
from truehessian.report.plots.style import BLACK, GREY
from truehessian.spectra.smoothing import Density

_LOWEST = 1e-9  # of the highest density, below which the kernel's tail says nothing


@style.styled
def density(estimate: Density, title: str | None = None) -> Figure:
    """Draw a density with a band of one standard error, that of few probes.

    Parameters
    ----------
    estimate
        Values of shape (G,). The error of a single probe is its own estimate of it.
    title
        Heading of the figure.
    """
    figure, ((axes,),) = style.new_figure(panel=(style.DOUBLE_COLUMN, 2.6))
    top = float(estimate.value.max())
    errors = np.nan_to_num(estimate.standard_error)
    low = np.maximum(estimate.value - errors, _LOWEST * top)
    axes.fill_between(
        estimate.grid, low, estimate.value + errors, color=GREY, alpha=0.35, linewidth=0
    )
    axes.plot(estimate.grid, estimate.value, color=BLACK, linewidth=1)
    style.log_axis(axes)
    axes.set(xlabel="eigenvalue", ylabel="density", ylim=(_LOWEST * top, 3 * top))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure
