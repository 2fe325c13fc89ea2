"""Spectra of several probes or folds in one. NumPy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from truehessian.spectra.spectrum import ARRAYS, OF_FOLDS, Spectrum


def stack_folds(folds: Sequence[Spectrum], indices: NDArray) -> Spectrum:
    """Put the spectra of folds into one, with a leading axis and the examples of each fold.

    The metadata are those of the first fold; seconds and the loss of orthogonality are over all.
    """
    metadata = {
        **folds[0].metadata,
        "folds": len(folds),
        "steps": max(fold.metadata["steps"] for fold in folds),
        **{key: [fold.metadata[key] for fold in folds] for key in OF_FOLDS},
        "orthogonality": max(fold.metadata["orthogonality"] for fold in folds),
        "seconds": round(sum(fold.metadata["seconds"] for fold in folds), 3),
    }
    arrays = stacked([tuple(getattr(fold, name) for name in ARRAYS) for fold in folds])
    return Spectrum(**arrays, metadata=metadata, indices=indices)


def stacked(rows: Sequence[tuple[NDArray, ...]]) -> dict[str, NDArray]:
    """Put the arrays of many probes or folds into one each, under their names.

    What is shorter than others is filled up with what nobody can take for a value.
    """
    columns = dict(zip(ARRAYS, zip(*rows, strict=True), strict=True))
    return {
        name: _filled(column, 0.0 if name == "weights" else np.nan)
        for name, column in columns.items()
    }


def _filled(parts: Sequence[NDArray], filling: float) -> NDArray:
    width = max(part.shape[-1] for part in parts)
    stacked = np.full((len(parts), *parts[0].shape[:-1], width), filling)
    for place, part in zip(stacked, parts, strict=True):
        place[..., : part.shape[-1]] = part
    return stacked
