"""The outer eigenvalues of batches that are put together from examples, and the full bulk."""

import numpy as np

from truehessian.theory.batch_spectra.base import KnownSpectra, SpectralPrediction
from truehessian.theory.batch_spectra.smaller_batches import coupled
from truehessian.theory.predictions.batch_model import modelled_spectra
from truehessian.theory.rmt import DiscreteMeasure

_DRAWS = 12  # batches; an order of a few hundred each


def _predict(known: KnownSpectra) -> DiscreteMeasure | None:
    """Take every quantile where it lies farther from zero: of the model, or of all the data.

    The model of a batch has the few hundred eigenvalues that the parts of its examples make, and
    zero for all others. What parts leave out is at least as wide as in the full spectrum.
    """
    if known.parts is None:
        return None
    spectra = modelled_spectra(known.parts, known.batch_size, draws=_DRAWS)
    return outward(known.full, averaged_model(spectra, known.num_parameters))


def averaged_model(spectra: list[np.ndarray], num_parameters: int) -> DiscreteMeasure:
    """Average spectra of finite rank, with zeros up to the order of the matrices.

    Raises
    ------
    ValueError
        A spectrum has more than `num_parameters` eigenvalues that are not zero.
    """
    most = max(map(np.count_nonzero, spectra))
    if most > num_parameters:
        raise ValueError(f"spectra must have at most {num_parameters} eigenvalues, got {most}")
    values = np.concatenate(spectra)
    values = values[values != 0]
    share = len(values) / len(spectra) / num_parameters
    masses = np.full(len(values), share / max(len(values), 1))
    return DiscreteMeasure(np.append(values, 0.0), np.append(masses, 1 - share))


def outward(full: DiscreteMeasure, model: DiscreteMeasure) -> DiscreteMeasure:
    """Combine the outer eigenvalues of a model with the bulk of the full spectrum.

    Every quantile lies where it is farther from zero. What the full spectrum gives is then
    scaled down, if the trace asks for it: it is the same for batches.
    """
    masses, own, modelled = coupled(full, model)
    outer = np.abs(modelled) > np.abs(own)
    inner = float(masses[~outer] @ own[~outer])
    wanted = full.moment(1) - float(masses[outer] @ modelled[outer])
    scale = min(max(wanted / inner, 0.0), 1.0) if inner != 0 else 1.0
    return DiscreteMeasure(np.where(outer, modelled, scale * own), masses)


PARTS = SpectralPrediction(
    name="parts",
    label="parts",
    colour="blue",
    dashes="-",
    assumption="puts batches together from the outer eigenpairs of single examples, and keeps the "
    "bulk of the full spectrum",
    predict=_predict,
)
