"""What sampling is predicted to do to a whole spectrum.

The predictions are listed here in the order in which they are shown; each is a
`base.SpectralPrediction`.
"""

from truehessian.registry import Registry

_ROOM = "truehessian.theory.batch_spectra"

BATCH_SPECTRA = Registry(
    "prediction of whole spectra",
    {
        "full": f"{_ROOM}.unchanged:FULL",
        "semicircle": f"{_ROOM}.semicircle:SEMICIRCLE",
        "marchenko_pastur": f"{_ROOM}.marchenko_pastur:MARCHENKO_PASTUR",
        "measured_noise": f"{_ROOM}.measured_noise:MEASURED_NOISE",
        "wishart": f"{_ROOM}.wishart:WISHART",
        "parts": f"{_ROOM}.parts:PARTS",
        "smaller_batches": f"{_ROOM}.smaller_batches:SMALLER_BATCHES",
    },
)
