"""Spectra of several probes, folds or groups of parameters in one. NumPy only."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from truehessian.spectra.spectrum import ARRAYS, OF_FOLDS, Spectrum, fold

# Rows on all groups in a table of groups, which no group may be called by.
SUMMARIES = ("sum", "whole")


def stack_folds(folds: Sequence[Spectrum], indices: NDArray | None) -> Spectrum:
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


def stack_groups(groups: Mapping[str, Spectrum], num_parameters: int, seconds: float) -> Spectrum:
    """Put the spectra of groups of parameters into one, with a leading axis.

    Parameters
    ----------
    groups
        Spectra of diagonal blocks by the names of the groups.
    num_parameters
        P of the matrix that they are blocks of.
    seconds
        That all of them have taken together.

    Returns
    -------
    Spectrum
        The metadata are those that all have, and have the names in `groups` and the orders of the
        blocks in `group_parameters`, in the order of the leading axis.
    """
    stack = stack_folds(list(groups.values()), None)
    del stack.metadata["folds"]
    stack.metadata.update(
        groups=list(groups),
        group_parameters=[each.metadata["num_parameters"] for each in groups.values()],
        num_parameters=num_parameters,
        seconds=seconds,
    )
    return stack


def by_group(stack: Spectrum) -> dict[str, Spectrum]:
    """Take apart what `stack_groups` has put together; each has the order of its own block."""
    names, sizes = (stack.metadata[key] for key in ("groups", "group_parameters"))
    parts = [fold(stack, number) for number in range(len(names))]
    return {
        name: part._replace(metadata=part.metadata | {"num_parameters": size, "group": name})
        for name, size, part in zip(names, sizes, parts, strict=True)
    }


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
