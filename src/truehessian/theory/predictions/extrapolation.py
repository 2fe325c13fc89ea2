"""Batches of other sizes, extrapolated: the measurement that theory has to beat.

The mean shift of an eigenvalue l is taken for a power of the finite-population factor, s = a f^p.
Noise that moves it to z = l + f V / z makes s (s + l) = f V: p is 1 where the shift is small beside
the eigenvalue, and 1/2 where it is large. Noise of a few examples, which saturates in small
batches, makes p smaller still. Two sizes give a and p, more of them are fitted.
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
    sign_of,
)
from truehessian.theory.predictions.factor import finite_population_factor

# About the p of s (s + l) = f V, p has a law of Student with few degrees of freedom: it decides
# where the shifts do not tell p, and its long tails give way where they do.
SPREAD, FREEDOM = 0.15, 3
DOUBT = 0.1  # that a power law is no more than nearly one, as a share of the shift
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
    factors: NDArray, shifts: NDArray, standard_errors: NDArray, factor: float, expected: float
) -> PowerLaw:
    """Fit a f^p to mean shifts, and extrapolate it.

    By Bayes' rule: shifts with normal errors, any a, and p by a law of Student within `BOUNDS`. For
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
    expected
        The p that is the likeliest before anything is measured, see `expected_exponent`.

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
    exponents, scales, widths, weights = _by_exponent(logarithms, shifts, errors, expected)
    low, shift, high = _quantiles(scales, widths, weights)
    return PowerLaw(shift, low, high, float(weights @ exponents))


def _by_exponent(
    logarithms: NDArray, shifts: NDArray, errors: NDArray, expected: float
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """For values of p around the likeliest ones: a, its error, and how likely they are."""
    low, high = BOUNDS
    for _ in range(_ZOOMS):
        grid = np.linspace(low, high, _GRID)
        powers = np.exp(grid[:, None] * logarithms) / errors  # (G, S)
        squares = (powers**2).sum(axis=1)
        scales = (powers @ (shifts / errors)) / squares
        missed = ((shifts / errors - scales[:, None] * powers) ** 2).sum(axis=1)
        missed += (FREEDOM + 1) * np.log1p(((grid - expected) / SPREAD) ** 2 / FREEDOM)
        likely = np.flatnonzero(missed <= missed.min() + _FAR)
        low, high = grid[max(likely[0] - 1, 0)], grid[min(likely[-1] + 1, _GRID - 1)]
    weights = np.exp((missed.min() - missed) / 2) / np.sqrt(squares)
    return grid, scales, 1 / np.sqrt(squares), weights / weights.sum()


def expected_exponent(
    distance: float, factors: NDArray, shifts: NDArray, standard_errors: NDArray, factor: float
) -> float:
    """Say which p leads from the measured shifts to another size if s (s + l) = f V.

    Parameters
    ----------
    distance
        How far the full eigenvalue l lies on the side of its end, 0 where on the other side.
    factors, shifts, standard_errors, factor
        As for `power_law`, with shifts outward.

    Returns
    -------
    float
        Between 1/2 and 1; 3/4 where nothing can be told.
    """
    weights = 1 / np.maximum(standard_errors, 1e-9 * np.abs(shifts).max() + 1e-300) ** 2
    shift = float(weights @ shifts / weights.sum())
    middle = float(np.exp(weights @ np.log(factors) / weights.sum()))
    ratio = factor / middle
    if not shift > 0 or not ratio > 0 or math.isclose(ratio, 1):
        return 1.0 if distance > 0 else 0.75
    squared = shift * (shift + distance) * ratio
    moved = 2 * squared / (distance + math.sqrt(distance**2 + 4 * squared))
    return min(max(math.log(moved / shift) / math.log(ratio), 0.5), 1.0)


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
            _extrapolated(value, factors, means[:, rank], errors[:, rank], known)
            for rank, value in enumerate(known.eigenvalues)
        ]
    )
    value, low, high = (known.eigenvalues + fitted[:, place] for place in range(3))
    ends = [np.full(count, float(sizes[place].batch_size)) for place in (0, -1)]
    further = dict(zip(_FURTHER, (fitted[:, 3], *ends), strict=True))
    return Predicted(value, low, high, further)


def _extrapolated(
    value: float, factors: NDArray, means: NDArray, errors: NDArray, known: Known
) -> PowerLaw:
    shifts, sign = means - value, sign_of(known.end)
    distance = max(sign * value, 0.0)
    expected = 0.75
    if np.isfinite([*shifts, *errors]).all():
        expected = expected_exponent(distance, factors, sign * shifts, errors, known.factor)
    return power_law(factors, shifts, errors, known.factor, expected)


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
    doubt=lambda known: np.full(len(known.eigenvalues), DOUBT if used(known) else math.nan),
)
