"""A discrete spectral measure smoothed with a Gaussian kernel. NumPy only."""

import math

import numpy as np
from numpy.typing import NDArray


def spectral_density(nodes: NDArray, weights: NDArray, grid: NDArray, bandwidth: float) -> NDArray:
    """Smooth a discrete spectral measure with a Gaussian kernel.

    Parameters
    ----------
    nodes, weights
        Ritz values and quadrature weights, pooled over probes, both of shape (K,).
        With n probes, divide each probe's weights by n, so that `weights` sums to 1.
    grid
        Where to evaluate, shape (G,), in units of the eigenvalues.
    bandwidth
        Standard deviation of the kernel, same units.

    Returns
    -------
    NDArray
        Density, shape (G,), float64. Not renormalised: mass outside the grid is missing.

    Raises
    ------
    ValueError
        `bandwidth` is not positive, or `nodes` and `weights` differ in shape.

    References
    ----------
    Lin, Saad & Yang (2016), SIAM Review 58(1), 34-65.
    """
    if nodes.shape != weights.shape:
        raise ValueError(f"shapes differ: nodes {nodes.shape}, weights {weights.shape}")
    return weights @ gaussian_kernel(nodes, grid, bandwidth)


def gaussian_kernel(nodes: NDArray, grid: NDArray, bandwidth: float) -> NDArray:
    """Evaluate a normal density around each node.

    Parameters
    ----------
    nodes, grid, bandwidth
        As in `spectral_density`, but the nodes may have any shape (...).

    Returns
    -------
    NDArray
        Shape (..., G), float64.

    Raises
    ------
    ValueError
        `bandwidth` is not positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    distance = (grid - nodes[..., None]) / bandwidth
    return np.exp(-0.5 * distance**2) / (bandwidth * math.sqrt(2 * math.pi))
