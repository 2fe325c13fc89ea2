"""Products of the full-data spectra."""

from typing import Protocol

from truehessian.measurements.costs.series import Series


class FullSettings(Protocol):
    """Lanczos steps of the Hessians and of the Gauss-Newton matrix, and start vectors."""

    steps: int
    ggn_steps: int
    probes: int


def full_spectra(how: FullSettings, *, train: int, test: int) -> tuple[Series, Series, Series]:
    """Count products with the Hessians of both splits and the Gauss-Newton matrix.

    Parameters
    ----------
    how
        Settings of the spectra.
    train, test
        Sizes of the splits.

    Returns
    -------
    full, test, ggn
        In the order in which they are measured.
    """
    return (
        Series("full", train, how.steps, how.probes),
        Series("test", test, how.steps, how.probes),
        Series("ggn", train, how.ggn_steps, how.probes),
    )
