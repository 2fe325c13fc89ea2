"""From transforms back to measures, and how far two measures are apart."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise

Transform = Callable[[NDArray], NDArray]


class HasCdf(Protocol):
    """Anything with a distribution function; discrete ones have `nodes`, too."""

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`."""


def density_of(stieltjes: Transform, grid: ArrayLike, offset: float) -> NDArray:
    """Invert a Stieltjes transform: -Im g(x + i offset) / π.

    Parameters
    ----------
    stieltjes
        g(z) = ∫ dμ(λ) / (z - λ) for complex z above the real axis.
    grid
        Real points x, any shape.
    offset
        Distance from the axis, positive, in units of the eigenvalues: the half width of the Cauchy
        kernel that the measure is smoothed with.

    Returns
    -------
    NDArray
        Density at `grid`, same shape, float64.

    Raises
    ------
    ValueError
        `offset` is not positive.
    """
    return -stieltjes(_above(grid, offset)).imag / math.pi


def cdf_of(log_potential: Transform, grid: ArrayLike, offset: float) -> NDArray:
    """Invert a potential: 1 - Im Φ(x + i offset) / π, the distribution function, smoothed.

    Parameters
    ----------
    log_potential
        Φ(z) = ∫ log(z - λ) dμ(λ), the primitive of the Stieltjes transform.
    grid, offset
        As for `density_of`.

    Returns
    -------
    NDArray
        Mass at or below `grid`, same shape, float64. No density is integrated: steep edges and
        coarse grids do no harm.

    Raises
    ------
    ValueError
        `offset` is not positive.
    """
    return np.clip(1 - log_potential(_above(grid, offset)).imag / math.pi, 0, 1)


def cdf_of_density(density: ArrayLike, grid: ArrayLike) -> NDArray:
    """Integrate a density, shape (G,), over an ascending `grid` by the trapezoidal rule.

    The result, shape (G,), starts at 0 and is not renormalised: its last value tells how much of
    the mass the grid and its spacing capture.
    """
    density, grid = np.asarray(density, dtype=np.float64), np.asarray(grid, dtype=np.float64)
    steps = np.diff(grid) * (density[1:] + density[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])


def quantile_of(cdf: Transform, edges: tuple[float, float], probability: ArrayLike) -> NDArray:
    """Smallest x between the `edges` with cdf(x) ≥ probability, same shape, float64.

    Raises
    ------
    ValueError
        A probability lies outside [0, 1].
    """
    probability = np.asarray(probability, dtype=np.float64)
    if np.any((probability < 0) | (probability > 1)):
        raise ValueError(f"probability must lie in [0, 1], got {probability}")
    flat = probability.reshape(-1)
    low, high = (np.full(flat.shape, edge) for edge in edges)

    def excess(x: NDArray, probability: NDArray) -> NDArray:
        return cdf(x) - probability

    found = elementwise.find_root(excess, (low, high), args=(flat,))
    beyond = np.where(flat > 0.5, high, low)  # no change of sign: at an end, but for rounding
    return np.where(found.success, found.x, beyond).reshape(probability.shape)


def kolmogorov_distance(first: HasCdf, second: HasCdf, grid: ArrayLike | None = None) -> float:
    """Largest difference sup |F(x) - G(x)| of two distribution functions.

    Parameters
    ----------
    first, second
        Laws with a `cdf`. At the `nodes` of a discrete one both sides of its jump count, so that
        between a discrete and a continuous law the distance is exact.
    grid
        Further points to compare at, any shape. Needed between two continuous laws.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        Neither law is discrete and there is no grid.
    """
    points = [np.asarray(law.nodes) for law in (first, second) if hasattr(law, "nodes")]
    if grid is not None:
        points.append(np.asarray(grid, dtype=np.float64).ravel())
    if not points:
        raise ValueError("two continuous laws need a grid to be compared on, got none")
    x = np.unique(np.concatenate(points))
    x = np.concatenate([x, np.nextafter(x, -np.inf)])
    return float(np.abs(first.cdf(x) - second.cdf(x)).max())


def _above(grid: ArrayLike, offset: float) -> NDArray:
    if not offset > 0:
        raise ValueError(f"offset must be positive, got {offset}")
    return np.asarray(grid, dtype=np.float64) + 1j * offset
