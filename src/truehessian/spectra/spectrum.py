"""Discrete spectral measures: Ritz values with weights, their files and extremes.

NumPy in float64 only, so that a laptop without PyTorch reads what a cluster has measured.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from truehessian import display
from truehessian.spectra.separation import errors_of_ranks

End = Literal["largest", "smallest"]
ENDS: tuple[End, End] = ("largest", "smallest")

# Names of the arrays of a spectrum, as in its file.
ARRAYS = ("ritz_values", "weights", "residuals", "diagonal", "off_diagonal")
# Metadata that a stack has of each fold.
OF_FOLDS = ("steps_done", "product_error", "numbers")

# What a spectrum shows of itself: facts of its metadata, and so many values of each end.
_FACTS = {
    "operator": "{}",
    "folds": "{} folds",
    "num_parameters": "P = {:,}",
    "num_examples": "N = {:,}",
    "steps": "{} steps",
    "probes": "probes: {}",
    "precision": "{}",
    "seed": "seed {}",
}
_SHOWN = 3
_ROUNDOFF = {"float64": 2.0**-52, "float32": 2.0**-23, "tf32": 2.0**-10}


class Spectrum(NamedTuple):
    """What Lanczos knows of a spectrum, for one operator or for a stack of them (folds).

    Rows are as long as the longest recurrence. Where one has stopped before, the rest of its row is
    NaN, and zero in `weights`: read single spectra by `nodes` and ranks by `ranked`, which pass
    over it.

    Attributes
    ----------
    ritz_values
        Shape (..., probes, m), float64, ascending along the last axis.
    weights
        Quadrature weights, same shape, sum 1 along the last axis. Zero on values that were found
        after the Krylov space was exhausted.
    residuals
        Bounds on the distance to an eigenvalue, never below the precision of the products, same
        shape and unit as the Ritz values.
    diagonal, off_diagonal
        The Jacobi matrices, shapes (..., probes, m) and (..., probes, m - 1).
    metadata
        What was measured, and how. `steps_done` counts the real values of each row,
        `product_error` is the precision of each probe's products.
    indices
        Positions in the split of the examples of each fold, shape (folds, B), or None.
    """

    ritz_values: NDArray
    weights: NDArray
    residuals: NDArray
    diagonal: NDArray
    off_diagonal: NDArray
    metadata: dict[str, Any]
    indices: NDArray | None = None

    def __repr__(self) -> str:
        """Show the extremes with their residuals, and no array."""
        return _card(self).text()

    def _repr_html_(self) -> str:
        return _card(self).html()


def _card(spectrum: Spectrum) -> display.Card:
    """Show the outermost values of both ends; of a stack, the range of the extremes over folds."""
    title = f"Spectrum: {display.facts(spectrum.metadata, _FACTS)}"
    if spectrum.ritz_values.ndim > 2:
        ranges = [(end, extremal(spectrum, end)[0]) for end in ENDS]
        rows = [[end, *map(display.value, (v.min(), v.mean(), v.max()))] for end, v in ranges]
        return display.Card(title, ("end", "least", "mean", "most"), rows)
    rows = [
        [f"{end} {rank + 1}", display.value(value), display.error(error)]
        for end in ENDS
        for rank, (value, error) in enumerate(zip(*ranked(spectrum, end, _SHOWN), strict=True))
        if np.isfinite(value)
    ]
    return display.Card(title, ("rank", "Ritz value", "error"), rows)


def save(path: str | Path, spectrum: Spectrum) -> None:
    """Write a spectrum as an NPZ archive whose entry `metadata` is JSON."""
    arrays = {name: getattr(spectrum, name) for name in ARRAYS}
    if spectrum.indices is not None:
        arrays["indices"] = spectrum.indices
    # Opened here and not by NumPy, which adds a suffix to names that have none.
    with open(path, "wb") as file:
        np.savez(file, metadata=json.dumps(spectrum.metadata, sort_keys=True), **arrays)


def load(path: str | Path) -> Spectrum:
    """Read a spectrum that `save` has written.

    Raises
    ------
    ValueError
        The file is damaged or not a spectrum.
    """
    try:
        # Opened here and not by NumPy, which leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return _as_today(
                Spectrum(
                    **{name: archive[name] for name in ARRAYS},
                    metadata=json.loads(str(archive["metadata"])),
                    indices=archive.get("indices"),
                )
            )
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole spectrum file ({error}); delete it and measure again"
        ) from error


def _as_today(spectrum: Spectrum) -> Spectrum:
    """Take what nobody knew out of older files: copies of last Ritz values, and residuals of zero.

    They filled up rows with the former, and stated residuals below the precision of the products.
    """
    if "product_error" in spectrum.metadata:
        return spectrum
    floor = product_errors(spectrum)[..., None]
    spectrum = spectrum._replace(residuals=np.maximum(spectrum.residuals, floor))
    done = spectrum.metadata.get("steps_done")
    shape = spectrum.ritz_values.shape
    if done is None or np.shape(done) != shape[:-1]:
        return spectrum
    steps = np.array(done)[..., None]
    width = int(steps.max(initial=0))
    arrays = {name: getattr(spectrum, name)[..., :width] for name in ARRAYS[:-1]}
    arrays["off_diagonal"] = spectrum.off_diagonal[..., : max(width - 1, 0)]
    for name, array in arrays.items():
        filled = np.arange(array.shape[-1]) >= steps - (name == "off_diagonal")
        arrays[name] = np.where(filled, 0.0 if name == "weights" else np.nan, array)
    return spectrum._replace(**arrays)


def fold(stack: Spectrum, number: int) -> Spectrum:
    """Take one fold out of a stack; the other metadata remain those of the stack."""
    arrays = {name: getattr(stack, name)[number] for name in ARRAYS}
    own = {key: stack.metadata[key][number] for key in OF_FOLDS if key in stack.metadata}
    return Spectrum(**arrays, metadata=stack.metadata | own)


def nodes(spectrum: Spectrum) -> tuple[NDArray, NDArray]:
    """Put the real nodes of all probes of a single spectrum into one measure.

    Returns
    -------
    values, weights
        Shape (K,), ascending; the weights sum to 1 over all probes.
    """
    real = np.isfinite(spectrum.ritz_values)
    values = spectrum.ritz_values[real]
    weights = spectrum.weights[real] / math.prod(spectrum.weights.shape[:-1])
    order = np.argsort(values, kind="stable")
    return values[order], weights[order]


def ranked(spectrum: Spectrum, end: End, count: int) -> tuple[NDArray, NDArray]:
    """Find the outermost Ritz values of an end, each of the probe in which it lies farthest out.

    By the theorem of Courant and Fischer no Ritz value of a rank lies farther out than the
    eigenvalue of that rank, so that this is the best that is known of it. No Ritz value counts for
    both ends, unless there is one only.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds.
    end
        `largest` or `smallest`.
    count
        How many.

    Returns
    -------
    values, errors
        From the extreme inwards, shape (count,) or (folds, count); NaN where there are fewer. An
        error is meant to reach to the eigenvalue of the same rank: it is the residual where all
        values farther out are separate, else reaches to the innermost that are, and twice the
        residual farther than the extreme where not even that is. An eigenvalue that the start
        vector hardly sees may still be missed, and one that is repeated counts once, unless the
        Krylov space was exhausted.
    """
    return _outermost(spectrum, end, count, errors_of_ranks)


def _outermost(
    spectrum: Spectrum,
    end: End,
    count: int,
    errors_of: Callable[[NDArray, NDArray, float], NDArray],
) -> tuple[NDArray, NDArray]:
    """Find values of ranks with what `errors_of` says of values, residuals and their floor."""
    sign = 1 if end == "largest" else -1
    shape = spectrum.ritz_values.shape
    found = np.full((math.prod(shape[:-1]), count, 2), np.nan)
    floors = product_errors(spectrum).ravel()
    rows = zip(_rows(spectrum.ritz_values), _rows(spectrum.residuals), floors, strict=True)
    for place, (values, residuals, floor) in zip(found, rows, strict=True):
        real = np.flatnonzero(np.isfinite(values))[::-sign]
        outwards = sign * values[real]
        errors = errors_of(outwards, residuals[real], floor)
        known = min(count, max(len(real) // 2, min(len(real), 1)))
        place[:known, 0], place[:known, 1] = outwards[:known], errors[:known]
    found = found.reshape(*shape[:-1], count, 2)
    best = np.where(np.isnan(found[..., 0]), -np.inf, found[..., 0]).argmax(-2)  # (..., count)
    chosen = np.take_along_axis(found, best[..., None, :, None], -3)[..., 0, :, :]
    return sign * chosen[..., 0], chosen[..., 1]


def extremal(spectrum: Spectrum, end: End) -> tuple[NDArray, NDArray]:
    """Find the extreme Ritz value over probes and steps, with its residual.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds.
    end
        `largest` or `smallest`.

    Returns
    -------
    value, residual
        Shape () for a single spectrum, (folds,) for a stack.
    """
    values, residuals = _outermost(spectrum, end, 1, lambda values, residuals, floor: residuals)
    return values[..., 0], residuals[..., 0]


def product_errors(spectrum: Spectrum) -> NDArray:
    """Precision of the products: the norm of the error of one with a unit vector.

    Returns
    -------
    NDArray
        One per probe, shape (..., probes). Files from before it was measured get the unit roundoff
        of their precision times the largest Ritz value.
    """
    shape = spectrum.ritz_values.shape[:-1]
    if "product_error" in spectrum.metadata:
        return np.broadcast_to(np.array(spectrum.metadata["product_error"], dtype=float), shape)
    roundoff = _ROUNDOFF.get(spectrum.metadata.get("precision", ""), 0.0)
    return roundoff * np.abs(np.nan_to_num(spectrum.ritz_values)).max(-1, initial=0.0)


def _rows(array: NDArray) -> NDArray:
    return array.reshape(-1, array.shape[-1])
