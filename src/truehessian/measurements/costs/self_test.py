"""Products of the estimators' self-test."""

import math
from collections.abc import Iterable

from truehessian.measurements.costs.series import Series


def partitions(repetitions: int, parts: int) -> int:
    """Count the random partitions that hold at least so many parts."""
    return math.ceil(repetitions / parts)


def self_test(
    *, parts: Iterable[int], repetitions: int, folds: int, steps: int, train: int
) -> Series:
    """Count products with all the data, and with parts of them in passes over all the data.

    Per partition: Lanczos on each part and on what each of its folds leaves of it, the variance
    along three directions, and both ends' vectors on the folds.

    Parameters
    ----------
    parts, repetitions, folds, steps
        As for `calibration.trials`.
    train
        Training examples.

    Returns
    -------
    Series
        Its recurrence is that of the truth, which may take twice as many steps as the others.
    """
    drawn = sum(partitions(repetitions, count) for count in parts)
    return Series("self-test", train, 2 * steps, further=drawn * (folds * steps + 3 + 2))
