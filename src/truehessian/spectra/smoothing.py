"""A spectral density in one call. NumPy only."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian import display
from truehessian.spectra import density as densities
from truehessian.spectra.spectrum import Spectrum

# Bandwidths by which the default grid reaches beyond the outermost Ritz values, and its points.
_MARGIN, _POINTS = 5, 1000


class Density(NamedTuple):
    """A spectral density on a grid.

    Attributes
    ----------
    grid
        Shape (G,), in units of the eigenvalues.
    value, standard_error
        Density, and its pointwise error from having few probes; shape (..., G), with the leading
        axes of a stack of spectra.
    bandwidth
        Standard deviation of the Gaussian kernel, in units of the eigenvalues.
    """

    grid: NDArray
    value: NDArray
    standard_error: NDArray
    bandwidth: float

    def __repr__(self) -> str:
        """Show where the grid lies, and no array."""
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> display.Card:
        row = [
            display.value(number)
            for number in (self.grid[0], self.grid[-1], self.bandwidth, float(self.value.max()))
        ]
        header = ("from", "to", "bandwidth", "highest")
        return display.Card(f"Spectral density at {len(self.grid)} places", header, [row])


def density(
    spectrum: Spectrum, grid: ArrayLike | None = None, *, bandwidth: float | None = None
) -> Density:
    """Estimate the spectral density, smoothed with a Gaussian kernel.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds.
    grid
        Where to evaluate, shape (G,), in units of the eigenvalues; by default 1000 places that
        reach five bandwidths beyond the outermost Ritz values.
    bandwidth
        Standard deviation of the kernel, same units. By default the mean distance of the Ritz
        values, below which a density shows the nodes of the quadrature and not the spectrum.

    Raises
    ------
    ValueError
        `bandwidth` is not positive, or `grid` has not one axis.

    References
    ----------
    Lin, Saad & Yang (2016), SIAM Review 58(1), 34-65.
    """
    values = spectrum.ritz_values[np.isfinite(spectrum.ritz_values)]
    low, high = values.min(), values.max()
    if bandwidth is None:
        spread = (high - low) / max(spectrum.ritz_values.shape[-1] - 1, 1)
        bandwidth = float(spread) or 0.01 * float(abs(high)) or 1.0
    margin = _MARGIN * bandwidth
    places = np.linspace(low - margin, high + margin, _POINTS) if grid is None else np.array(grid)
    if places.ndim != 1 or not len(places):
        raise ValueError(f"grid must have one axis with at least one place, got {places.shape}")
    estimate = densities.smoothed(spectrum, places.astype(float), bandwidth)
    return Density(places, estimate.value, estimate.standard_error, bandwidth)
