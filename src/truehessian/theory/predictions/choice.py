"""Which prediction to trust, and how far, said before a batch is measured."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from truehessian.theory.predictions.base import WIDTH, Known, Predicted, Prediction

NOTHING = "goe"  # is named where no prediction says what it is expected to miss


def expected_error(entry: Prediction, known: Known, predicted: Predicted) -> NDArray:
    """Say how far a prediction is expected to miss, before batches of this size are measured.

    Parameters
    ----------
    entry
        The prediction; it says itself how far its assumptions are in doubt.
    known, predicted
        What it was made from, and what it gave.

    Returns
    -------
    NDArray
        Shares of the shift in the root mean square, shape (R,): the doubt about the assumptions and
        the standard error of the predicted mean in units of the predicted shift, added in squares.
        NaN where there is no prediction, or where it says nothing.
    """
    if entry.doubt is None:
        return np.full(len(predicted.value), np.nan)
    shift = np.abs(predicted.value - known.eigenvalues)
    error = np.nan_to_num((predicted.high - predicted.low) / (2 * WIDTH))
    relative = np.divide(error, shift, out=np.zeros_like(shift), where=shift > 0)
    return np.where(np.isnan(predicted.value), np.nan, np.hypot(entry.doubt(known), relative))


def with_doubt(entry: Prediction, known: Known, predicted: Predicted) -> Predicted:
    """Widen the intervals of a prediction by the doubt about its assumptions.

    Parameters
    ----------
    entry, known, predicted
        As of `expected_error`; `predicted` with intervals of what it was made from alone.

    Returns
    -------
    Predicted
        On either side, half-width and doubt are added in squares; the doubt is a standard error in
        units of the predicted shift.
    """
    if entry.doubt is None:
        return predicted
    value = predicted.value
    doubt = WIDTH * entry.doubt(known) * np.abs(value - known.eigenvalues)
    low = value - np.hypot(value - predicted.low, doubt)
    return predicted._replace(low=low, high=value + np.hypot(predicted.high - value, doubt))


def chosen(eigenvalues: NDArray, expected: Mapping[str, NDArray]) -> tuple[list[str], NDArray]:
    """Name for each known eigenvalue the prediction that is expected to miss the least.

    Parameters
    ----------
    eigenvalues
        Of the full Hessian, shape (R,).
    expected
        By the prediction's name, what `expected_error` gave.

    Returns
    -------
    names, errors
        R names, `NOTHING` where all errors are NaN, and the expected errors of these predictions.
    """
    names = list(expected)
    errors = np.array([expected[name] for name in names]).reshape(len(names), len(eigenvalues))
    best = np.where(np.isnan(errors), np.inf, errors).argmin(axis=0)
    least = errors[best, np.arange(len(eigenvalues))]
    told = [
        NOTHING if np.isnan(error) else names[at] for at, error in zip(best, least, strict=True)
    ]
    return told, least
