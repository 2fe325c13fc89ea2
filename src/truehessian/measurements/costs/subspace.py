"""Products within the directions that hold a share of the noise."""

from typing import Protocol

from truehessian.measurements.costs.series import Series


class SubspaceSettings(Protocol):
    """How many products there may be."""

    passes: int


def subspace(how: SubspaceSettings, *, train: int) -> Series:
    """Count products with the training Hessian: one along each direction, of which few may do.

    Parameters
    ----------
    how
        Settings of the measurement.
    train
        Training examples.
    """
    return Series("subspace", train, further=how.passes)
