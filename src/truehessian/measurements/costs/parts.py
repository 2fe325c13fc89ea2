"""Products with the Hessians of single examples."""

from typing import Protocol

from truehessian.measurements.costs.series import Series

# Along what is left of the extreme Ritz vector of either end.
_RESTS = 2


class PartsSettings(Protocol):
    """How many examples, Ritz vectors of each end, and Lanczos steps on each example."""

    examples: int | None
    vectors: int
    steps: int


def products(how: PartsSettings, *, ritz_vectors: int) -> int:
    """Count the products with each example.

    Parameters
    ----------
    how
        Settings of the measurement.
    ritz_vectors
        Of both ends together.
    """
    return ritz_vectors + how.steps + _RESTS


def example_parts(how: PartsSettings, *, kept_of_each_end: int, train: int) -> Series:
    """Count products with single examples, in those with all that are measured.

    Parameters
    ----------
    how
        Settings of the measurement.
    kept_of_each_end
        Ritz vectors of the full Hessian that there are of either end.
    train
        Training examples.
    """
    count = train if how.examples is None else min(how.examples, train)
    vectors = 2 * min(how.vectors, kept_of_each_end)
    return Series("parts", count, further=products(how, ritz_vectors=vectors))
