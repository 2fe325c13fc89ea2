"""The subspace prediction within as many directions as a share of the noise asks for."""

import math

from truehessian.theory.predictions import subspace
from truehessian.theory.predictions.base import OF_DRAWS, Prediction

ADAPTIVE = Prediction(
    name="adaptive",
    label="adaptive subspace",
    marker="h",
    colour="tab:purple",
    assumption="does so within as many directions as hold a stated share of the noise",
    predict=lambda known: subspace.predict(known, "adaptive"),
    overlap=lambda known: subspace.overlap(known, "adaptive"),
    overlap_rule="the same, of batches within that span",
    further=OF_DRAWS,
    passes=lambda known: math.nan if known.adaptive is None else len(known.adaptive.leak),
    doubt=lambda known: subspace.doubt(known, "adaptive"),
)
