"""Discrete spectral measures: Ritz values with weights, their files, extremes and density.

NumPy in float64 only, so that a laptop without PyTorch reads what a cluster has measured.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

End = Literal["largest", "smallest"]
ENDS: tuple[End, End] = ("largest", "smallest")

# Names of the arrays of a spectrum, as in its file.
ARRAYS = ("ritz_values", "weights", "residuals", "diagonal", "off_diagonal")


class Spectrum(NamedTuple):
    """What Lanczos knows of a spectrum, for one operator or for a stack of them (folds).

    Where a Krylov space was exhausted before the last step, the rows are filled up with the last
    Ritz value at weight and residual zero; `metadata["steps_done"]` says how many are real.

    Attributes
    ----------
    ritz_values
        Shape (..., probes, m), float64, ascending along the last axis.
    weights
        Quadrature weights, same shape, sum 1 along the last axis.
    residuals
        Bounds on the distance to an eigenvalue, same shape and unit as the Ritz values.
    diagonal, off_diagonal
        The Jacobi matrices, shapes (..., probes, m) and (..., probes, m - 1).
    metadata
        What was measured, and how.
    indices
        Positions in the split of the examples of each fold, shape (folds, B), or None.
    """

    ritz_values: NDArray
    weights: NDArray
    residuals: NDArray
    diagonal: NDArray
    off_diagonal: NDArray
    metadata: dict[str, Any]
    indices: NDArray | None = None


def save(path: str | Path, spectrum: Spectrum) -> None:
    """Write a spectrum as an NPZ archive whose entry `metadata` is JSON."""
    arrays = {name: getattr(spectrum, name) for name in ARRAYS}
    if spectrum.indices is not None:
        arrays["indices"] = spectrum.indices
    # Opened here and not by NumPy, which adds a suffix to names that have none.
    with open(path, "wb") as file:
        np.savez(file, metadata=json.dumps(spectrum.metadata, sort_keys=True), **arrays)


def load(path: str | Path) -> Spectrum:
    """Read a spectrum that `save` has written.

    Raises
    ------
    ValueError
        The file is damaged or not a spectrum.
    """
    try:
        # Opened here and not by NumPy, which leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return Spectrum(
                **{name: archive[name] for name in ARRAYS},
                metadata=json.loads(str(archive["metadata"])),
                indices=archive.get("indices"),
            )
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole spectrum file ({error}); delete it and measure again"
        ) from error


def extremal(spectrum: Spectrum, end: End) -> tuple[NDArray, NDArray]:
    """Find the extreme Ritz value over probes and steps, with its residual.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds.
    end
        `largest` or `smallest`.

    Returns
    -------
    value, residual
        Shape () for a single spectrum, (folds,) for a stack.
    """
    shape = (*spectrum.ritz_values.shape[:-2], -1)
    values = spectrum.ritz_values.reshape(shape)
    residuals = spectrum.residuals.reshape(shape)
    position = values.argmax(-1) if end == "largest" else values.argmin(-1)
    position = np.expand_dims(position, -1)
    return (
        np.take_along_axis(values, position, -1)[..., 0],
        np.take_along_axis(residuals, position, -1)[..., 0],
    )


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
