"""Products of the spectra of disjoint parts of the data."""

from typing import Protocol

from truehessian.measurements.costs.series import Series


class SubsampleSettings(Protocol):
    """Numbers of parts, and Lanczos steps of each part."""

    parts: list[int]
    steps: int


def subsample_spectra(how: SubsampleSettings, *, train: int) -> list[Series]:
    """Count products with disjoint parts of the data, for each number of parts, ascending."""
    return [
        Series(f"subsample-{parts}", train // parts, how.steps, matrices=parts, number=parts)
        for parts in sorted(how.parts)
    ]
