"""Batches of other sizes, extrapolated: the measurement that theory has to beat.

The mean shift of an eigenvalue is taken for a power of the finite-population factor, s(B) = a f^p.
Theory has p = 1 where the eigenvalue is far above the noise, which moves it by f V / l, and p = 1/2
where it lies in the noise, whose edge is 2 √(f V); noise of a few examples that saturates in small
batches makes it smaller still. Two sizes give a and p, more of them are fitted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from truehessian.theory.predictions.base import (
    WIDTH,
    Known,
    MeasuredBatches,
    Predicted,
    Prediction,
)
from truehessian.theory.predictions.factor import finite_population_factor

# Before anything is measured, p is as likely above as below their middle, and seldom beyond 1/4 or
# 5/4: a normal law, which decides where the shifts do not tell p, and is outweighed where they do.
EXPONENT, EXPONENT_SPREAD = 0.75, 0.25
BOUNDS = (0.05, 1.5)  # p never leaves them
_GRID, _ZOOMS, _HALVINGS = 101, 8, 60
_FAR = 40.0  # twice the logarithm of how much less likely a p must be to be left out
_LEVELS = special.ndtr([-WIDTH, 0.0, WIDTH])


class PowerLaw(NamedTuple):
    """A shift that was extrapolated.

    Attributes
    ----------
    shift, low, high
        a f^p at the factor that was asked for, the median, and its 95 % interval.
    exponent
        p, the mean.
    """

    shift: float
    low: float
    high: float
    exponent: float


def power_law(
    factors: NDArray, shifts: NDArray, standard_errors: NDArray, factor: float
) -> PowerLaw:
    """Fit a f^p to mean shifts, and extrapolate it.

    By Bayes' rule: shifts with normal errors, any a, and p by a normal law within `BOUNDS`. For
    each p the shift has then a normal law, and these are mixed. Where the shifts are no more than
    their errors, a is about zero, of either sign, and the interval holds zero.

    Parameters
    ----------
    factors
        Finite-population factors f > 0 of what was measured, at least two, shape (S,).
    shifts, standard_errors
        Of the mean over batches, shape (S,); an error of zero is that of an exact value.
    factor
        Of the size that is asked for; 0 for all the data, which have no shift.

    Returns
    -------
    PowerLaw
        NaN where a shift or its error is.

    Raises
    ------
    ValueError
        There are fewer than two factors, or one is not positive.
    """
    if len(factors) < 2 or not np.all(factors > 0):
        raise ValueError(f"factors must be two at least, and above 0, got {factors}")
    if not np.isfinite([*shifts, *standard_errors]).all():
        return PowerLaw(*[math.nan] * 4)
    largest = np.abs(shifts).max()
    if factor == 0 or (largest == 0 and not standard_errors.any()):
        return PowerLaw(0.0, 0.0, 0.0, math.nan)
    errors = np.maximum(standard_errors, 1e-9 * largest)
    logarithms = np.log(factors / factor)  # so that a is the shift at `factor`
    exponents, scales, widths, weights = _by_exponent(logarithms, shifts, errors)
    low, shift, high = _quantiles(scales, widths, weights)
    return PowerLaw(shift, low, high, float(weights @ exponents))


def _by_exponent(
    logarithms: NDArray, shifts: NDArray, errors: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """For values of p around the likeliest ones: a, its error, and how likely they are."""
    low, high = BOUNDS
    for _ in range(_ZOOMS):
        grid = np.linspace(low, high, _GRID)
        powers = np.exp(grid[:, None] * logarithms) / errors  # (G, S)
        squares = (powers**2).sum(axis=1)
        scales = (powers @ (shifts / errors)) / squares
        missed = ((shifts / errors - scales[:, None] * powers) ** 2).sum(axis=1)
        missed += ((grid - EXPONENT) / EXPONENT_SPREAD) ** 2
        likely = np.flatnonzero(missed <= missed.min() + _FAR)
        low, high = grid[max(likely[0] - 1, 0)], grid[min(likely[-1] + 1, _GRID - 1)]
    weights = np.exp((missed.min() - missed) / 2) / np.sqrt(squares)
    return grid, scales, 1 / np.sqrt(squares), weights / weights.sum()


def _quantiles(means: NDArray, deviations: NDArray, weights: NDArray) -> list[float]:
    """Quantiles at `_LEVELS` of a mixture of normal laws, by halving."""
    below = np.full(len(_LEVELS), (means - 8 * deviations).min())
    above = np.full(len(_LEVELS), (means + 8 * deviations).max())
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        reached = special.ndtr((middle[:, None] - means) / deviations) @ weights < _LEVELS
        below, above = np.where(reached, middle, below), np.where(reached, above, middle)
    found: list[float] = ((below + above) / 2).tolist()
    return found


def used(known: Known) -> Sequence[MeasuredBatches]:
    """Choose the sizes that a prediction for `known.batch_size` is made from, ascending.

    Two smaller ones or more: all of them. One: it and the next larger one. None: the two next
    larger ones. Fewer than two sizes, with two batches each: none, and no prediction.
    """
    enough = [each for each in known.measured if len(each.values) > 1]
    smaller = [each for each in enough if each.batch_size < known.batch_size]
    larger = [each for each in enough if known.batch_size < each.batch_size < known.num_examples]
    chosen = [*smaller, *larger[: max(2 - len(smaller), 0)]]
    return chosen if len(chosen) > 1 else []


def _predict(known: Known) -> Predicted:
    sizes, count = used(known), len(known.eigenvalues)
    if not sizes:
        return Predicted.missing(count, _FURTHER)
    factors = np.array(
        [finite_population_factor(each.batch_size, known.num_examples) for each in sizes]
    )
    means, errors = map(np.array, zip(*map(_means, sizes), strict=True))  # (S, R)
    fitted = np.array(
        [
            power_law(factors, means[:, rank] - value, errors[:, rank], known.factor)
            for rank, value in enumerate(known.eigenvalues)
        ]
    )
    value, low, high = (known.eigenvalues + fitted[:, place] for place in range(3))
    ends = [np.full(count, float(sizes[place].batch_size)) for place in (0, -1)]
    further = dict(zip(_FURTHER, (fitted[:, 3], *ends), strict=True))
    return Predicted(value, low, high, further)


def _means(batches: MeasuredBatches) -> tuple[NDArray, NDArray]:
    """Mean over folds and its standard error, shape (R,), as wide as Student's law for so few."""
    values = batches.values
    folds = len(values)
    student = special.stdtrit(folds - 1, special.ndtr(WIDTH)) / WIDTH
    return values.mean(axis=0), student * values.std(axis=0, ddof=1) / math.sqrt(folds)


def _passes(known: Known) -> float:
    sizes = used(known)
    return sum(each.passes for each in sizes) if sizes else math.nan


_FURTHER = ("exponent", "smallest_size", "largest_size")
EXTRAPOLATED = Prediction(
    name="extrapolated",
    label="extrapolated",
    marker="v",
    colour="vermillion",
    assumption=(
        "takes the shifts of batches of other sizes, which were measured, for a power of 1/B − 1/N"
    ),
    predict=_predict,
    further=_FURTHER,
    passes=_passes,
)
