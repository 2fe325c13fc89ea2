"""Where gradient descent loses its footing: limits of curvature, and means over batches.

On a quadratic loss a step of size eta diverges along a direction whose curvature exceeds a limit.
Training by all the data drives its largest curvature up to that limit, which is the edge of
stability; what goes there in training by batches is the curvature of a batch along its gradient.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Limits(NamedTuple):
    """Curvatures at which stochastic gradient descent with heavy-ball momentum is at an edge.

    Attributes
    ----------
    plain
        2 / eta, without momentum.
    small_batches
        2 (1 - beta) / eta, where batches are small: momentum makes steps longer by 1 / (1 - beta).
    large_batches
        2 (1 + beta) / eta, where noise has no part: the limit of the quadratic loss itself.
    """

    plain: float
    small_batches: float
    large_batches: float


class Mean(NamedTuple):
    """A mean over batches, or a ratio of two, with its standard error (NaN of a single batch)."""

    value: float
    standard_error: float


def limits(learning_rate: float, momentum: float = 0.0) -> Limits:
    """Find the limits of SGD, whose velocity is v <- beta v + g and whose step is -eta v.

    Raises
    ------
    ValueError
        The rate is not positive, or the momentum not in [0, 1).

    References
    ----------
    Cohen et al. (2021), arXiv 2103.00065, for all the data; Andreyev & Beneventano (2024), arXiv
    2412.20553, and Andreyev et al. (2026), arXiv 2604.14108, for batches.
    """
    _check(learning_rate, momentum)
    plain = 2 / learning_rate
    return Limits(plain, (1 - momentum) * plain, (1 + momentum) * plain)


def adam_limit(learning_rate: float, beta1: float = 0.9) -> float:
    """Find the limit of the largest eigenvalue of P^(-1/2) H P^(-1/2) for Adam: 38 / eta.

    2 (1 + beta1) / ((1 - beta1) eta) in general: momentum whose velocity is an average.

    Raises
    ------
    ValueError
        The rate is not positive, or beta1 not in [0, 1).

    References
    ----------
    Cohen et al. (2022), Adaptive gradient methods at the edge of stability, arXiv 2207.14484.
    """
    _check(learning_rate, beta1)
    return 2 * (1 + beta1) / ((1 - beta1) * learning_rate)


def mean(values: NDArray) -> Mean:
    """Average what independent batches show, shape (F,)."""
    return ratio_of_means(values, np.ones(len(values)))


def ratio_of_means(numerators: NDArray, denominators: NDArray) -> Mean:
    """Divide the mean of one quantity of independent batches by that of another.

    Parameters
    ----------
    numerators, denominators
        One of each batch, shape (F,).

    Returns
    -------
    Mean
        The ratio, and its standard error by the jackknife over batches. Where a few batches have
        most of the denominators it is too small, as that of any mean of skewed numbers.

    Raises
    ------
    ValueError
        There is no batch, or the two differ in shape.
    """
    if numerators.shape != denominators.shape or numerators.ndim != 1 or not len(numerators):
        raise ValueError(
            f"expected one number of each batch in both, got {numerators.shape} numerators and "
            f"{denominators.shape} denominators"
        )
    count, total = len(numerators), float(denominators.sum())
    if total == 0:  # of gradients that all vanish
        return Mean(math.nan, math.nan)
    ratio = float(numerators.sum()) / total
    others = total - denominators
    if count < 2 or not others.all():
        return Mean(ratio, math.nan)
    without = (numerators.sum() - numerators) / others
    spread = float(without.std()) * math.sqrt(count - 1)
    return Mean(ratio, spread)


def _check(learning_rate: float, momentum: float) -> None:
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be from 0 on and below 1, got {momentum}")
