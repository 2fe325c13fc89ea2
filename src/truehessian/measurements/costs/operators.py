"""Products of the spectra of further curvature matrices."""

from typing import Protocol

from truehessian.measurements.costs.series import Series


class OperatorSettings(Protocol):
    """Lanczos steps and start vectors."""

    steps: int
    probes: int


def operator_spectrum(name: str, how: OperatorSettings, *, train: int) -> Series:
    """Count products with a matrix of the training examples, whose spectrum has this name."""
    return Series(name, train, how.steps, how.probes)
