"""Continuous laws as atoms."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from truehessian.theory.rmt import DiscreteMeasure

# Bins at first, their smallest distance from zero over the largest, and into how many one is split.
_FIRST, _NARROWEST, _PARTS = 80, 1e-5, 4
_ROUNDS = 8  # of splitting, at most
# What a bin may contribute to the error of the second moment, relative to it, if all of its mass
# lay at one of its ends.
_TOLERANCE = 4e-3


def atoms_of(cdf: Callable[[NDArray], NDArray], low: float, high: float) -> DiscreteMeasure:
    """Put the mass of a law into the middles of bins that are narrow where it lies.

    Parameters
    ----------
    cdf
        Mass at or below places of shape (G,).
    low, high
        Ends of the support, or beyond it.

    Returns
    -------
    DiscreteMeasure
        Bins are split where they might be wrong by a share of the second moment: an outlier with a
        mass of 1/P, wherever it is, gets a narrow one.
    """
    edges = _first_bins(low, high)
    below = np.concatenate([[0.0], np.asarray(cdf(edges[1:-1])), [1.0]])
    for _ in range(_ROUNDS):
        middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        mass = np.maximum(np.diff(below), 0)
        error = mass * width * (np.abs(middle) + width)
        wide = error > _TOLERANCE * (mass @ middle**2)
        if not wide.any():
            break
        inner = (np.arange(1, _PARTS) / _PARTS)[:, None]
        further = (edges[:-1][wide] + inner * width[wide]).ravel()
        edges, below = np.append(edges, further), np.append(below, cdf(further))
        order = np.argsort(edges, kind="stable")
        edges, below = edges[order], np.maximum.accumulate(below[order])
    mass = np.maximum(np.diff(below), 0)
    return DiscreteMeasure((edges[1:] + edges[:-1]) / 2, mass / mass.sum())


def _first_bins(low: float, high: float) -> NDArray:
    """Edges that lie the closer the nearer they are to zero."""
    reach = max(abs(low), abs(high))
    side = np.geomspace(_NARROWEST * reach, reach, _FIRST // 2)
    edges = np.concatenate([-side[::-1], [0.0], side])
    return np.concatenate([[low], edges[(edges > low) & (edges < high)], [high]])
