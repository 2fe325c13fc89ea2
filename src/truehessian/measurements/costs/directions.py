"""Products along single directions: variance over examples, and held-out curvature."""

from typing import Protocol

from truehessian.measurements.costs.series import Series


class DirectionSettings(Protocol):
    """Numbers of directions, and the folds of the test split."""

    random_directions: int
    leak_vectors: int
    held_out_folds: int
    held_out_steps: int


def leaks_of_each_end(how: DirectionSettings) -> int:
    """Share out the directions that noise turns the Ritz vectors to: as many for either end."""
    return (how.leak_vectors + 1) // 2


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

    On a fold: its own Lanczos run and both extremal vectors of the others. On all folds: one
    product per Ritz vector, which is as many on each of them. The Lanczos vectors of all folds are
    held together, because each fold is multiplied by the Ritz vectors of the others.

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
    along = folds * (2 * (folds - 1) + ritz_vectors)
    size = test // folds
    steps = how.held_out_steps
    return Series("held-out", size, steps, matrices=folds, held=folds, further=along)
