"""Products of the full-data spectra by batch statistics."""

from collections.abc import Iterable
from typing import Protocol

from truehessian.measurements.costs.series import Series


class BatchNormSettings(Protocol):
    """Lanczos steps and start vectors."""

    steps: int
    probes: int


def batchnorm_spectra(
    chunk_sizes: Iterable[int], how: BatchNormSettings, *, train: int
) -> list[Series]:
    """Count products with the Hessian by the statistics of chunks, for each size of them."""
    return [
        Series(f"batchnorm-{size}", train, how.steps, how.probes, number=size)
        for size in sorted(chunk_sizes)
    ]
