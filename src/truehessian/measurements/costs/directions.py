"""Products along single directions: variance over examples, and held-out curvature."""

from typing import Protocol

from truehessian.measurements.costs.series import Series

CROSSED_RANKS = 3  # eigenvalues of each end that are cross-validated, if there are Ritz vectors


class DirectionSettings(Protocol):
    """Numbers of directions, and the folds of the test split."""

    random_directions: int
    leak_vectors: int
    held_out_folds: int
    held_out_steps: int


def leaks_of_each_end(how: DirectionSettings) -> int:
    """Share out the directions that noise turns the Ritz vectors to: as many for either end."""
    return (how.leak_vectors + 1) // 2


def crossed_ranks(ritz_vectors: int) -> int:
    """How many eigenvalues of each end are cross-validated on the folds of the test split."""
    return max(min(CROSSED_RANKS, ritz_vectors // 2), 1)


def variance(how: DirectionSettings, *, ritz_vectors: int, train: int) -> Series:
    """Count products with the training Hessian: one along each direction.

    Parameters
    ----------
    how
        Settings of the measurement.
    ritz_vectors
        Of both ends together.
    train
        Training examples.
    """
    along = how.random_directions + ritz_vectors + 2 * leaks_of_each_end(how)
    return Series("variance", train, further=along)


def held_out(how: DirectionSettings, *, ritz_vectors: int, test: int) -> Series:
    """Count products with the Hessians of the folds of the test split.

    On a fold: its own Lanczos run and the outermost vectors of the others, see `crossed_ranks`. On
    all folds: one product per Ritz vector, which is as many on each of them. The Lanczos vectors of
    all folds are held together, because each fold is multiplied by the Ritz vectors of the others.

    Parameters
    ----------
    how
        Settings of the measurement.
    ritz_vectors
        Of both ends together.
    test
        Test examples.
    """
    folds = how.held_out_folds
    along = folds * (2 * crossed_ranks(ritz_vectors) * (folds - 1) + ritz_vectors)
    size = test // folds
    steps = how.held_out_steps
    return Series("held-out", size, steps, matrices=folds, held=folds, further=along)
