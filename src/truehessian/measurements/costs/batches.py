"""Products of the spectra of batches and of the noise in them."""

from typing import NamedTuple, Protocol

from truehessian.measurements.costs.series import Series


class BatchSettings(Protocol):
    """Sizes of batches, how many of each, and the same for their noise."""

    sizes: list[int]
    folds: int
    steps: int
    noise_folds: int
    noise_steps: int
    noise_directions: int


class OfBatches(NamedTuple):
    """Products with the matrices of batches of one size, and with their noise."""

    batch: Series
    noise: Series


def batch_spectra(how: BatchSettings, *, train: int) -> list[OfBatches]:
    """Count products with batches and noise, for each batch size.

    Every fold multiplies the random directions by its own matrix. A product with noise is one with
    the batch and one with all the data; the directions' own products with all the data, which are
    the same for all sizes, are counted here for each.

    Parameters
    ----------
    how
        Settings of the spectra.
    train
        Training examples.
    """
    return [OfBatches(_batch(size, how), _noise(size, how, train)) for size in sorted(how.sizes)]


def _batch(size: int, how: BatchSettings) -> Series:
    along = how.folds * how.noise_directions
    name = f"batch-{size}"
    return Series(name, size, how.steps, matrices=how.folds, further=along, number=size)


def _noise(size: int, how: BatchSettings, train: int) -> Series:
    return Series(
        f"noise-{size}",
        size + train,
        how.noise_steps,
        matrices=how.noise_folds,
        further=how.noise_directions,
        number=size,
    )
