"""The full spectrum as it is: no noise at all."""

from truehessian.theory.batch_spectra.base import SpectralPrediction

FULL = SpectralPrediction(
    name="full",
    label="full spectrum",
    colour="black",
    dashes=":",
    assumption="leaves the spectrum as it is",
    predict=lambda known: known.full,
)
