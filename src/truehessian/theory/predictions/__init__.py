"""What sampling is predicted to do to the ends of a spectrum.

The predictions are listed here in the order in which they are shown; each is a `base.Prediction`.
"""

from truehessian.registry import Registry

PREDICTIONS = Registry(
    "prediction",
    {
        "goe": "truehessian.theory.predictions.isotropic:GOE",
        "directional": "truehessian.theory.predictions.isotropic:DIRECTIONAL",
        "subspace": "truehessian.theory.predictions.subspace:SUBSPACE",
        "adaptive": "truehessian.theory.predictions.adaptive:ADAPTIVE",
        "extrapolated": "truehessian.theory.predictions.extrapolation:EXTRAPOLATED",
        "parts": "truehessian.theory.predictions.parts:PARTS",
    },
)
