"""Products of the spectra of augmented images."""

from collections.abc import Sequence
from typing import Protocol

from truehessian.measurements.costs.series import Series


class Factor(Protocol):
    """One set of images: how many are made from each original, and Lanczos steps."""

    factor: int
    steps: int


def augmented_spectra(factors: Sequence[Factor], *, train: int) -> list[Series]:
    """Count products with augmented images, for each factor, ascending."""
    return [
        Series(f"augmented-{item.factor}", item.factor * train, item.steps, number=item.factor)
        for item in sorted(factors, key=lambda item: item.factor)
    ]
