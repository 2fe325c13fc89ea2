"""Tables of what sampling does: every outlier of the batches beside its predictions.

Column names and their order are a contract, as in `tables`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from truehessian.report.tables import select
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, End, Spectrum
from truehessian.theory.predictions import PREDICTIONS, choice, isotropic
from truehessian.theory.predictions.base import (
    QUANTILES,
    Draws,
    Known,
    MeasuredBatches,
    Predicted,
    Prediction,
)
from truehessian.theory.predictions.examples import ExampleParts
from truehessian.theory.predictions.noise import SubspaceNoise

_QUANTILE_COLUMNS = tuple(f"{kind}_{name}" for kind in ("batch", "subspace") for name in QUANTILES)
# A contract that figures, checks and users rely on; further predictions come behind it.
OUTLIER_COLUMNS = (
    "epoch", "batch_size", "end", "rank", "full", "batch_mean", "batch_standard_error",
    "batch_standard_deviation", "folds", "goe", "directional", "subspace",
    "subspace_standard_deviation", "chosen", "weyl", "goe_low", "goe_high", "directional_low",
    "directional_high", "subspace_low", "subspace_high", "chosen_value", "chosen_low",
    "chosen_high", *_QUANTILE_COLUMNS, "batch_residual", "overlap", "overlap_standard_error",
    "overlap_goe", "overlap_directional", "overlap_subspace", "full_residual",
)  # fmt: skip
_OF_ALL_RANKS = ("rank", "batch_residual", "full_residual")


def outlier_columns() -> list[str]:
    """List the columns of `outliers`: `OUTLIER_COLUMNS`, then those of further predictions."""
    predicted = [name for entry in PREDICTIONS.entries().values() for name in entry.columns]
    return list(dict.fromkeys([*OUTLIER_COLUMNS, "chosen_expected_error", *predicted]))


def theory_columns() -> list[str]:
    """List the columns of `theory_vs_empirical`: those of `outliers` that one rank needs."""
    boxes = {f"{kind}_{name}" for kind in ("batch", *PREDICTIONS) for name in QUANTILES}
    return [name for name in outlier_columns() if name not in {*_OF_ALL_RANKS, *boxes}]


def outliers(
    spectra: Iterable[Spectrum],
    variance: pd.DataFrame,
    subspaces: Mapping[int, SubspaceNoise] | None = None,
    overlaps: pd.DataFrame | None = None,
    *,
    adaptive: Mapping[int, SubspaceNoise] | None = None,
    parts: Mapping[int, ExampleParts] | None = None,
    ranks: int = 1,
    draws: int = 400,
    seed: int = 0,
    resamples: int = 0,
) -> pd.DataFrame:
    """Confront predicted outliers of batches with measured ones, from the extreme inwards.

    Parameters
    ----------
    spectra
        Of all the data and of batches; those of the training Hessian are used. What their weight
        decay adds is no part of theory, and is added to what it predicts.
    variance
        Columns epoch, direction ("random-1", "top-1", "bottom-1", ...), variance (V of a unit
        vector), standard_error, num_parameters and more; P σ² is the mean over the random
        directions. Predictions that need what is missing are NaN.
    subspaces
        By epoch; without one the subspace prediction is NaN.
    overlaps
        Columns epoch, batch_size, fold, end, direction, squared_overlap.
    adaptive
        As `subspaces`, for the adaptive subspace prediction.
    parts
        Of single examples, by epoch; without those of one their prediction is NaN.
    ranks
        How many outliers of each end.
    draws, seed, resamples
        Of predictions that draw batches.

    Returns
    -------
    DataFrame
        One row per epoch, batch size, end and rank, with the columns of `outlier_columns`; there
        are as many ranks as Ritz values were found for. `full_residual` and `batch_residual` (the
        mean over folds) bound the distance to the eigenvalue of the same rank, see
        `spectrum.ranked`.
        `goe_expected_error` and so on say how far a prediction is expected to miss, as a share of
        the shift, and `chosen` names the one that is expected to miss the least, see `choice`;
        intervals are those of the predicted mean, 95 %, with what `choice.with_doubt` adds.
        Quantiles, `batch_q05` and so on, are those over folds and over draws. `overlap` is the mean
        squared component of the batch's *extreme* Ritz vector along the full one of this rank; the
        formulas predict it for rank 1 only.
        `goe_passes` and so on say what a prediction took beside the full spectrum, in products with
        all the data.

    Raises
    ------
    ValueError
        A batch was measured at an epoch at which the full Hessian was not.
    """
    full, batches = select.training_spectra(spectra)
    how = Draws(ranks, draws, seed, resamples)
    rows: list[dict[str, Any]] = []
    for measured in batches:
        epoch = measured.metadata["epoch"]
        if epoch not in full:
            raise ValueError(
                "spectra must hold the full training Hessian of every epoch with batches, got none "
                f"for epoch {epoch}; measure its full spectrum"
            )
        noises = [each.get(epoch) if each else None for each in (subspaces, adaptive)]
        at_epoch = select.at_epoch(variance, epoch)
        others = _of_other_sizes(measured, batches)
        for end in ENDS:
            found = list(_measured(full[epoch], measured, end, ranks))
            if not found:
                continue
            known = _known(found, full[epoch], at_epoch, noises, how, others)
            known = replace(known, parts=(parts or {}).get(epoch))
            rows += map(dict.__or__, found, _predicted(known, _decay(full[epoch])))
    frame = pd.DataFrame(rows, columns=outlier_columns())
    return frame if overlaps is None else _with_overlaps(frame, overlaps)


def theory_vs_empirical(outliers: pd.DataFrame) -> pd.DataFrame:
    """Keep the extreme eigenvalues of `outliers`, with the columns of `theory_columns`."""
    return outliers.loc[outliers["rank"] == 1, theory_columns()].reset_index(drop=True)


def _measured(
    whole: Spectrum, measured: Spectrum, end: End, ranks: int
) -> Iterator[dict[str, Any]]:
    """Rows of one end, as far inwards as the full data and a fold at least have Ritz values."""
    of_whole, of_batches = spectrum.ranked(whole, end, ranks), spectrum.ranked(measured, end, ranks)
    folds = [np.atleast_2d(part) for part in of_batches]
    for rank in range(1, ranks + 1):
        values, residuals = (part[:, rank - 1] for part in folds)
        found = np.isfinite(values)
        full, full_residual = (float(part[rank - 1]) for part in of_whole)
        if not found.any() or math.isnan(full):
            return
        row = _of_folds(values[found], residuals[found])
        yield {
            "epoch": int(measured.metadata["epoch"]),
            "batch_size": int(measured.metadata["batch_size"]),
            "end": end,
            "rank": rank,
            "full": full,
            "full_residual": full_residual,
            **row,
        }


def _of_folds(values: NDArray, residuals: NDArray) -> dict[str, float]:
    several = len(values) > 1
    deviation = float(values.std(ddof=1)) if several else math.nan
    return {
        "batch_mean": float(values.mean()),
        "batch_standard_error": deviation / math.sqrt(len(values)),
        "batch_standard_deviation": deviation,
        "folds": len(values),
        "batch_residual": float(residuals.mean()),
        **_quantiles("batch", values),
    }


def _quantiles(kind: str, values: NDArray) -> dict[str, float]:
    return {f"{kind}_{name}": float(np.quantile(values, q)) for name, q in QUANTILES.items()}


def _known(
    rows: list[dict[str, Any]],
    whole: Spectrum,
    variance: pd.DataFrame,
    noises: Sequence[SubspaceNoise | None],
    how: Draws,
    others: Iterable[Spectrum],
) -> Known:
    """Collect what is known of one end of all the data, before its batches are measured.

    Theory takes the rest of the spectrum to lie at zero, and so what the weight decay adds is taken
    off beforehand and added to what is predicted: it moves all eigenvalues alike.
    """
    end, batches = rows[0]["end"], [_measured_batches(each, whole, rows) for each in others]
    return Known(
        eigenvalues=np.array([row["full"] for row in rows]) - _decay(whole),
        end=end,
        batch_size=rows[0]["batch_size"],
        num_examples=int(whole.metadata["num_examples"]),
        num_parameters=1 if variance.empty else int(variance["num_parameters"].iloc[0]),
        isotropic=select.isotropic_variance(variance),
        along=[select.variance_along(variance, end, row["rank"]) for row in rows],
        noise=noises[0],
        how=how,
        random_directions=len(select.along_random(variance)),
        adaptive=noises[1],
        measured=batches,
    )


def _of_other_sizes(measured: Spectrum, batches: Iterable[Spectrum]) -> list[Spectrum]:
    """Find the batches of the same epoch whose size is another one."""
    epoch, size = (measured.metadata[key] for key in ("epoch", "batch_size"))
    facts = [(each.metadata, each) for each in batches]
    return [each for of, each in facts if of["epoch"] == epoch and of["batch_size"] != size]


def _measured_batches(
    batches: Spectrum, whole: Spectrum, rows: list[dict[str, Any]]
) -> MeasuredBatches:
    """Keep the outermost eigenvalues of all folds, less the weight decay, as many as `rows`."""
    size = batches.metadata["batch_size"]
    values, _ = spectrum.ranked(batches, rows[0]["end"], len(rows))
    probes, steps = batches.ritz_values.shape[-2:]
    done = batches.metadata.get("steps_done", len(values) * probes * steps)
    passes = float(np.sum(done)) * size / whole.metadata["num_examples"]
    return MeasuredBatches(size, np.atleast_2d(values) - _decay(whole), passes)


def _decay(whole: Spectrum) -> float:
    return float(whole.metadata.get("weight_decay", 0.0))


def _predicted(known: Known, decay: float) -> Iterator[dict[str, Any]]:
    """Columns of every prediction, a row for each eigenvalue."""
    entries: dict[str, Prediction] = PREDICTIONS.entries()
    predicted = {name: entry.predict(known) for name, entry in entries.items()}
    columns: dict[str, Any] = {}
    for name, entry in entries.items():
        found = choice.with_doubt(entry, known, predicted[name])
        values = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        values |= {f"{name}_{what}": found.further[what] for what in _quantiles_of(found)}
        columns |= {f"{name}_{what}": numbers for what, numbers in found.further.items()}
        columns |= {column: numbers + decay for column, numbers in values.items()}
    for name, entry in entries.items():
        if entry.overlap is not None:
            columns[f"overlap_{name}"] = entry.overlap(known)
        if entry.passes is not None:
            passes = np.asarray(entry.passes(known), np.float64)
            columns[f"{name}_passes"] = np.broadcast_to(passes, known.eigenvalues.shape)
    columns["weyl"] = decay + isotropic.weyl(
        known.eigenvalues, known.factor, known.num_parameters, known.isotropic.value, known.end
    )
    expected = {
        name: choice.expected_error(entry, known, predicted[name])
        for name, entry in entries.items()
    }
    columns |= {f"{name}_expected_error": errors for name, errors in expected.items()}
    names, columns["chosen_expected_error"] = choice.chosen(known.eigenvalues, expected)
    for place, name in enumerate(names):
        row = {column: float(values[place]) for column, values in columns.items()}
        yield row | {
            "chosen": name,
            "chosen_value": row[name],
            "chosen_low": row[f"{name}_low"],
            "chosen_high": row[f"{name}_high"],
        }


def _quantiles_of(found: Predicted) -> list[str]:
    return [what for what in found.further if what in QUANTILES]


def _with_overlaps(frame: pd.DataFrame, overlaps: pd.DataFrame) -> pd.DataFrame:
    """Add the mean squared component of the batches' extreme vectors along each direction."""
    groups = overlaps.groupby(["epoch", "batch_size", "end", "direction"])["squared_overlap"]
    measured: dict[Any, Any] = dict(list(groups))
    columns = ("epoch", "batch_size", "end", "rank")
    found: list[tuple[float, float]] = []
    for epoch, size, end, rank in zip(*(frame[column] for column in columns), strict=True):
        values = measured.get((epoch, size, end, select.direction(end, rank)))
        found.append((math.nan, math.nan) if values is None else (values.mean(), values.sem()))
    means, errors = zip(*found, strict=True) if found else ((), ())
    return frame.assign(overlap=means, overlap_standard_error=errors)
