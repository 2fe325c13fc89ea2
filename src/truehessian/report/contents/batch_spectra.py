"""Whole spectra of batches, predicted and measured."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport
from truehessian.report.tables.extremes import read_epochs
from truehessian.spectra import spectrum
from truehessian.theory.batch_spectra import BATCH_SPECTRA
from truehessian.theory.predictions import examples

_NEEDS = ("batch", "variance")


def _make(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots import batch_spectra as plots
    from truehessian.report.tables import spectral, spectral_curves

    spectra = [spectrum.load(path) for name in ("full", "batches", "noise") for path in files[name]]
    parts = examples.load_epochs(files["parts"])
    found = list(spectral.cases(spectra, read_epochs(files["variance"]), parts))
    curves = spectral_curves.curves(found)
    title = f"Whole spectra of batches, epoch {spectra[0].metadata['epoch']}"
    return Made(curves, plots.batch_spectra(curves, title), spectral.spectral_distances(found))


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    return {"predictions": list(BATCH_SPECTRA.entries().values())}


SPECTRAL_DISTANCES = Content(
    "spectral_distances",
    "spectra",
    figure=Figure(needs=_NEEDS, over=("epoch",)),
    table=Table(needs=_NEEDS),
    optional=True,
    caption=(
        "**Whole spectra of mini-batch Hessians, predicted and measured**, epoch {{ epoch }}. "
        "Above, their density, smoothed with a Gaussian kernel a fifth of their standard "
        "deviation wide; below, how many eigenvalues lie at a place or farther from zero on its "
        "side. The band is two standard errors of the mean over batches. Of the predictions, "
        "{% for prediction in predictions %}"
        "*{{ prediction.label }}* {{ prediction.assumption }}{{ '. ' if loop.last else '; ' }}"
        "{% endfor %}"
        "Measured curves are what few Lanczos steps see: beside zero they are blurred."
    ),
    table_caption=(
        "**Whole spectra of batches, predicted and measured.** Wasserstein's distance (how far "
        "mass has to be moved on average) is in units of the batches' own standard deviation, "
        "Kolmogorov's is the largest difference of the distribution functions; `floor` is "
        "Wasserstein's between two halves of the batches. The second moment is tr H² / P; outliers "
        "are eigenvalues farther from zero than `edge`, three standard deviations. "
        "What is measured is what `steps` Lanczos steps see: few steps blur the mass beside zero "
        "and leave its sign to chance; `negative_mass` is what lies a tenth of the standard "
        "deviation below zero or farther."
    ),
    title="Whole spectra of batches, predicted and measured",
    facts=_facts,
    make=_make,
    inputs={
        "full": "spectra/{epoch}/full.npz",
        "batches": "spectra/{epoch}/batch-{batch_size}.npz",
        "noise": "spectra/{epoch}/noise-{batch_size}.npz",
        "variance": "variance/{epoch}.csv",
        "parts": "variance/{epoch}.parts.npz",
    },
    sections={"parts": "parts"},
    uses=tuple(BATCH_SPECTRA.values()),
)
