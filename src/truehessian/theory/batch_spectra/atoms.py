"""Continuous laws as atoms."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from truehessian.theory.rmt import DiscreteMeasure

# Bins at first, their smallest distance from zero over the largest, and into how many one is split,
# how often at most.
_FIRST, _NARROWEST, _PARTS, _ROUNDS = 100, 1e-8, 8, 3
# What a bin may add to the distance from the law, in standard deviations, and to the error of the
# second moment, relative to it, if all of its mass lay at one of its ends.
_DISTANCE, _MOMENT = 1e-3, 1e-2


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
        Bins are split where they might be wrong by a share of the width of the law or of its second
        moment: an outlier with a mass of 1/P, wherever it is, gets a narrow one.
    """
    edges = _first_bins(low, high)
    below = np.concatenate([[0.0], np.asarray(cdf(edges[1:-1])), [1.0]])
    for _ in range(_ROUNDS):
        middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        mass = np.maximum(np.diff(below), 0)
        moved, second = mass * width, mass @ middle**2
        wide = moved > _DISTANCE * np.sqrt(second)
        wide |= moved * (np.abs(middle) + width) > _MOMENT * second
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
