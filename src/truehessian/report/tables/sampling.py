"""Tables of what sampling does: every outlier of the batches beside its predictions.

Column names and their order are a contract, as in `tables`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, End, Spectrum
from truehessian.theory.predictions import isotropic as prediction
from truehessian.theory.predictions.noise import SubspaceNoise

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
WIDTH = 1.96  # standard errors on either side of a 95 % interval

_QUANTILE_COLUMNS = tuple(f"{kind}_{name}" for kind in ("batch", "subspace") for name in QUANTILES)
_OVERLAP_COLUMNS = (
    "overlap", "overlap_standard_error", "overlap_goe", "overlap_directional", "overlap_subspace",
)  # fmt: skip
OUTLIER_COLUMNS = (
    "epoch", "batch_size", "end", "rank", "full", "batch_mean", "batch_standard_error",
    "batch_standard_deviation", "folds", "goe", "directional", "subspace",
    "subspace_standard_deviation", "chosen", "weyl", "goe_low", "goe_high", "directional_low",
    "directional_high", "subspace_low", "subspace_high", "chosen_value", "chosen_low",
    "chosen_high", *_QUANTILE_COLUMNS, "batch_residual", *_OVERLAP_COLUMNS,
    "full_residual",
)  # fmt: skip
THEORY_COLUMNS = tuple(
    name
    for name in OUTLIER_COLUMNS
    if name not in ("rank", "batch_residual", "full_residual", *_QUANTILE_COLUMNS)
)

_SIDE = {"largest": "top", "smallest": "bottom"}


class Variance(NamedTuple):
    """P σ² or V(u), with its standard error."""

    value: float
    standard_error: float

    def interval(self) -> tuple[float, float]:
        """95 % interval, not below zero."""
        half = WIDTH * self.standard_error
        return max(self.value - half, 0.0), self.value + half


def isotropic_variance(variance: pd.DataFrame) -> Variance:
    """Average V over the random directions of one epoch: P σ²; the error is that of the mean."""
    along = variance.loc[variance["direction"].str.startswith("random-"), "variance"]
    error = float(along.std(ddof=1)) / math.sqrt(len(along)) if len(along) > 1 else math.nan
    return Variance(float(along.mean()), error)


def variance_along(variance: pd.DataFrame, end: str, rank: int) -> Variance:
    """Look up V(u) along the Ritz vector of this rank (from 1) at one epoch; NaN if missing."""
    along = variance[variance["direction"] == f"{_SIDE[end]}-{rank}"]
    if along.empty:
        return Variance(math.nan, math.nan)
    return Variance(float(along["variance"].iloc[0]), float(along["standard_error"].iloc[0]))


def outliers(
    spectra: Iterable[Spectrum],
    variance: pd.DataFrame,
    subspaces: Mapping[int, SubspaceNoise] | None = None,
    overlaps: pd.DataFrame | None = None,
    *,
    ranks: int = 1,
    draws: int = 400,
    seed: int = 0,
    resamples: int = 0,
) -> pd.DataFrame:
    """Confront predicted outliers of batches with measured ones, from the extreme inwards.

    Parameters
    ----------
    spectra
        Of all the data and of batches; those of the training Hessian are used.
    variance
        Columns epoch, direction ("random-1", "top-1", "bottom-1", ...), variance (V of a unit
        vector), standard_error, num_parameters and more; P σ² is the mean over the random
        directions. Predictions that need what is missing are NaN.
    subspaces
        By epoch; without one the subspace prediction is NaN.
    overlaps
        Columns epoch, batch_size, fold, end, direction, squared_overlap.
    ranks
        How many outliers of each end.
    draws, seed, resamples
        Of the subspace prediction.

    Returns
    -------
    DataFrame
        One row per epoch, batch size, end and rank, with the columns of `OUTLIER_COLUMNS`; there
        are as many ranks as Ritz values were found for. `full_residual` and `batch_residual` (the
        mean over folds) bound the distance to the eigenvalue of the same rank, see
        `spectrum.ranked`.
        `chosen` names the prediction that `prediction.choose` trusts; intervals are those of the
        predicted mean, 95 %. Quantiles, `batch_q05` and so on, are those over folds and over
        draws. `overlap` is the mean squared component of the batch's *extreme* Ritz vector along
        the full one of this rank; the formulas predict it for rank 1 only.

    Raises
    ------
    ValueError
        A batch was measured at an epoch at which the full Hessian was not.
    """
    training = [
        measured
        for measured in spectra
        if measured.metadata["operator"] == "hessian"
        and measured.metadata["split"] == "train"
        and not measured.metadata.get("factor")
    ]
    full = {m.metadata["epoch"]: m for m in training if not m.metadata.get("batch_size")}
    batches = [m for m in training if m.metadata.get("batch_size")]
    batches.sort(key=lambda m: (m.metadata["epoch"], m.metadata["batch_size"]))
    rows: list[dict[str, Any]] = []
    for measured in batches:
        epoch = measured.metadata["epoch"]
        if epoch not in full:
            raise ValueError(
                "spectra must hold the full training Hessian of every epoch with batches, got none "
                f"for epoch {epoch}; measure its full spectrum"
            )
        whole = full[epoch]
        noise = None if subspaces is None else subspaces.get(epoch)
        at_epoch = variance[variance["epoch"] == epoch]
        for end in ENDS:
            drawn = _drawn(noise, measured, end, (ranks, draws, seed, resamples))
            for row in _measured(whole, measured, end, ranks):
                row |= _predicted(row, whole, at_epoch, noise, drawn)
                rows.append(row | _overlaps(row, at_epoch, overlaps, noise, drawn))
    return pd.DataFrame(rows, columns=list(OUTLIER_COLUMNS))


def theory_vs_empirical(outliers: pd.DataFrame) -> pd.DataFrame:
    """Keep the extreme eigenvalues of `outliers`, with the columns of `THEORY_COLUMNS`."""
    return outliers.loc[outliers["rank"] == 1, list(THEORY_COLUMNS)].reset_index(drop=True)


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


def _drawn(
    noise: SubspaceNoise | None, measured: Spectrum, end: str, how: tuple[int, int, int, int]
) -> prediction.SubspacePrediction | None:
    """Draw batches of this size; None where the groups cannot make one up."""
    if noise is None:
        return None
    ranks, draws, seed, resamples = how
    drawn = prediction.subspace(
        **noise._asdict(),
        batch_size=int(measured.metadata["batch_size"]),
        end=end,
        draws=draws,
        seed=seed,
        ranks=min(ranks, len(noise.leak)),
        resamples=resamples,
    )
    return None if math.isnan(drawn.mean) else drawn


def _predicted(
    row: Mapping[str, Any],
    whole: Spectrum,
    variance: pd.DataFrame,
    noise: SubspaceNoise | None,
    drawn: prediction.SubspacePrediction | None,
) -> dict[str, Any]:
    end, rank, full = row["end"], row["rank"], row["full"]
    num_examples = int(whole.metadata["num_examples"])
    factor = prediction.finite_population_factor(row["batch_size"], num_examples)
    isotropic, along = isotropic_variance(variance), variance_along(variance, end, rank)
    num_parameters = 1 if variance.empty else int(variance["num_parameters"].iloc[0])
    found: dict[str, Any] = {}
    for name, measured in (("goe", isotropic), ("directional", along)):
        bounds = prediction.goe(full, factor, [measured.value, *measured.interval()], end)
        found[name] = float(bounds[0])
        found[f"{name}_low"], found[f"{name}_high"] = sorted(map(float, bounds[1:]))
    found["weyl"] = float(prediction.weyl(full, factor, num_parameters, isotropic.value, end))
    num_vectors = 0 if noise is None or drawn is None else len(noise.ritz_values)
    num_leaks = 0 if noise is None else len(noise.leak) - len(noise.ritz_values)
    found |= _from_draws(drawn, rank)
    name = prediction.choose(
        full, factor, along.value, num_vectors=num_vectors, end=end, num_leaks=num_leaks
    )
    found |= {"chosen": name, "chosen_value": found[name]}
    return found | {f"chosen_{side}": found[f"{name}_{side}"] for side in ("low", "high")}


def _from_draws(drawn: prediction.SubspacePrediction | None, rank: int) -> dict[str, Any]:
    names = ("subspace", "subspace_standard_deviation", "subspace_low", "subspace_high")
    if drawn is None or rank > drawn.ranked.shape[1]:
        return dict.fromkeys(names, math.nan)
    values = drawn.ranked[:, rank - 1]
    mean, half = float(values.mean()), WIDTH * float(drawn.standard_errors[rank - 1])
    found = (mean, float(values.std(ddof=1)), mean - half, mean + half)
    return dict(zip(names, found, strict=True)) | _quantiles("subspace", values)


def _overlaps(
    row: Mapping[str, Any],
    variance: pd.DataFrame,
    overlaps: pd.DataFrame | None,
    noise: SubspaceNoise | None,
    drawn: prediction.SubspacePrediction | None,
) -> dict[str, float]:
    end, rank = row["end"], row["rank"]
    num_examples = 1 if variance.empty else int(variance["num_examples"].iloc[0])
    found = dict.fromkeys(_OVERLAP_COLUMNS, math.nan)
    if overlaps is not None:
        chosen = overlaps[
            (overlaps["epoch"] == row["epoch"])
            & (overlaps["batch_size"] == row["batch_size"])
            & (overlaps["end"] == end)
            & (overlaps["direction"] == f"{_SIDE[end]}-{rank}")
        ]["squared_overlap"]
        found["overlap"], found["overlap_standard_error"] = chosen.mean(), chosen.sem()
    if rank == 1 and not variance.empty:
        factor = prediction.finite_population_factor(row["batch_size"], num_examples)
        along = variance_along(variance, end, 1)
        noises = {"goe": isotropic_variance(variance), "directional": along}
        for name, measured in noises.items():
            value = prediction.overlap(row["full"], factor, measured.value, end)
            found[f"overlap_{name}"] = float(value)
    if noise is not None and drawn is not None:
        count = len(noise.ritz_values) // 2
        if rank <= count:
            column = rank - 1 + (0 if end == "largest" else count)
            found["overlap_subspace"] = float(drawn.overlaps[:, column].mean())
    return found
