"""The measured spectrum of the noise, in general position to the full Hessian."""

from truehessian.theory.batch_spectra.base import KnownSpectra, SpectralPrediction
from truehessian.theory.batch_spectra.marchenko_pastur import free_sum
from truehessian.theory.rmt import DiscreteMeasure


def _predict(known: KnownSpectra) -> DiscreteMeasure | None:
    """Add the measured law of H_B - H freely to the full spectrum."""
    return None if known.noise is None else free_sum(known.full, known.noise)


MEASURED_NOISE = SpectralPrediction(
    name="measured_noise",
    label="measured noise",
    colour="green",
    dashes="--",
    assumption="adds the measured spectrum of the noise as if its directions had nothing to do "
    "with those of the Hessian",
    predict=_predict,
)
