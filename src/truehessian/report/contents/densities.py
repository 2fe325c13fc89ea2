"""Spectral densities of the training Hessian."""

from collections.abc import Mapping

import pandas as pd

from truehessian.report.contents.base import Content, Figure, Made
from truehessian.spectra import spectrum


def _draw(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots import densities
    from truehessian.spectra.smoothing import density

    measured = spectrum.load(files["full"][0])
    found = density(measured)
    columns = {"eigenvalue": found.grid, "density": found.value, "error": found.standard_error}
    data = pd.DataFrame(columns).assign(bandwidth=found.bandwidth)
    title = f"Spectral density of the training Hessian, epoch {measured.metadata['epoch']}"
    return Made(data, densities.density(found, title))


DENSITY = Content(
    "density",
    "spectra",
    figure=Figure(over=("epoch",)),
    optional=True,
    caption=(
        "**Spectral density of the full-data Hessian**, epoch {{ epoch }}: the Ritz values with "
        "their weights, smoothed with a Gaussian kernel as wide as the mean distance between them. "
        "The band is one standard error, of the number of probes."
    ),
    make=_draw,
    inputs={"full": "spectra/{epoch}/full.npz"},
)
