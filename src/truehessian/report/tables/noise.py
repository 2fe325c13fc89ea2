"""Tables of the noise itself, H_B - H: its extremes, its moments and its law."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from truehessian.report.tables import select
from truehessian.spectra import density, spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum
from truehessian.theory import laws
from truehessian.theory.predictions.factor import finite_population_factor

NOISE_COLUMNS = (
    "epoch", "batch_size", "fold", "largest", "smallest", "edge", "frobenius_norm",
    "frobenius_standard_error", "frobenius_predicted", *laws.FITTED,
)  # fmt: skip
SCALING_COLUMNS = ("epoch", "quantity", "exponent", "low", "high", "values")
_SCALED = ("frobenius_norm", "largest", "smallest")


def noise(spectra: Iterable[Spectrum], variance: pd.DataFrame) -> pd.DataFrame:
    """Confront the noise of batches with what noise alike in all directions would be.

    Parameters
    ----------
    spectra
        Stacks of folds of the noise, and of batches whose metadata hold the `noise_squares`
        ||E v||² of random unit vectors v, folds x vectors; others are passed over.
    variance
        As in `sampling.outliers`; without an epoch, its predictions are NaN.

    Returns
    -------
    DataFrame
        One row per epoch, batch size and fold, with the columns of `NOISE_COLUMNS`; what comes from
        a spectrum is NaN for folds without one. `edge` is the semicircle's, 2 √(f P σ²), and
        `frobenius_predicted` is √(f P · P σ²). The Frobenius norm is that along the random vectors,
        without them that of the spectrum. `skewness` is 0 and
        `kurtosis` (fourth central moment over the squared second) is 2 for a semicircle. The two
        laws have the moments of the measured one: two for the semicircle, three for a
        Marchenko-Pastur law that is shifted. Distances are Wasserstein's, see `laws.distance`,
        between the law and the Ritz values with their weights, over the standard deviation;
        `better` has the smaller one.
    """
    rows: dict[tuple[int, int, int], dict[str, Any]] = {}
    norms: dict[tuple[int, int, int], dict[str, Any]] = {}
    for stack in spectra:
        facts = stack.metadata
        is_noise = facts["operator"] == "noise"
        if not is_noise and "noise_squares" not in facts:
            continue
        expected = _expected(facts, select.at_epoch(variance, facts["epoch"]))
        found = list(_of_spectrum(stack) if is_noise else _of_directions(facts))
        for fold, columns in enumerate(found):
            key = (int(facts["epoch"]), int(facts["batch_size"]), fold)
            rows.setdefault(key, dict(zip(NOISE_COLUMNS, key, strict=False)) | expected)
            (rows[key] if is_noise else norms.setdefault(key, {})).update(columns)
    for key, columns in norms.items():
        rows[key] |= columns
    return pd.DataFrame([rows[key] for key in sorted(rows)], columns=list(NOISE_COLUMNS))


def _expected(facts: dict[str, Any], variance: pd.DataFrame) -> dict[str, float]:
    """Edge and Frobenius norm of noise alike in all directions."""
    size, num_params = int(facts["batch_size"]), int(facts["num_parameters"])
    population = int(facts.get("population") or facts["num_examples"])
    factor = finite_population_factor(size, population)
    square = factor * select.isotropic_variance(variance).value
    return {"edge": 2 * math.sqrt(square), "frobenius_predicted": math.sqrt(num_params * square)}


def _of_spectrum(stack: Spectrum) -> Iterator[dict[str, Any]]:
    norms = density.frobenius_norm(stack)
    largest, smallest = (spectrum.extremal(stack, end)[0] for end in ENDS)
    for fold in range(len(largest)):
        yield {
            "largest": float(largest[fold]),
            "smallest": float(smallest[fold]),
            "frobenius_norm": float(norms.value[fold]),
            "frobenius_standard_error": float(norms.standard_error[fold]),
            **laws.fit_laws(*spectrum.nodes(spectrum.fold(stack, fold))),
        }


def _of_directions(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """√(P · mean ||E v||²) over random unit vectors v, and its standard error."""
    for squares in np.asarray(facts["noise_squares"], dtype=np.float64):
        norm = math.sqrt(facts["num_parameters"] * squares.mean())
        error = math.nan
        if len(squares) > 1 and norm > 0:
            error = norm * squares.std(ddof=1) / (2 * squares.mean() * math.sqrt(len(squares)))
        yield {"frobenius_norm": norm, "frobenius_standard_error": error}


def scaling(frame: pd.DataFrame, num_examples: int) -> pd.DataFrame:
    """Fit how the noise shrinks with the batch: quantity = c (1/B - 1/N)^exponent.

    Parameters
    ----------
    frame
        From `noise`.
    num_examples
        N.

    Returns
    -------
    DataFrame
        Columns of `SCALING_COLUMNS`: per epoch, and for all epochs together (`all`: one exponent,
        a constant for each epoch), the exponent of the Frobenius norm and of both extremes, each
        the root of its mean square over the folds of one size, with
        its 95 % interval (Student's t; NaN where no degree of freedom is left) and the number of
        values. Independent examples make it 1/2.
    """
    usable = frame[frame["batch_size"] < num_examples]
    squares = usable.assign(**{name: usable[name] ** 2 for name in _SCALED})
    means = squares.groupby(["epoch", "batch_size"])[list(_SCALED)].mean().reset_index()
    parts = [(str(epoch), group) for epoch, group in means.groupby("epoch")]
    parts += [("all", means)] if len(parts) > 1 else []
    rows = []
    for name, group in parts:
        for quantity in _SCALED:
            known = group.dropna(subset=quantity)
            if known["batch_size"].nunique() < 2:
                continue
            x = np.log(1 / known["batch_size"].to_numpy(float) - 1 / num_examples)
            y = np.log(known[quantity].to_numpy(float)) / 2
            slope, low, high = laws.slope_within(x, y, known["epoch"])
            found = (name, quantity, slope, low, high, len(known))
            rows.append(dict(zip(SCALING_COLUMNS, found, strict=True)))
    return pd.DataFrame(rows, columns=list(SCALING_COLUMNS))
