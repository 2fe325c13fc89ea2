"""Headline findings: tables in, sentences out. A table that is absent or empty says nothing."""

import math
from collections.abc import Mapping

import pandas as pd

from truehessian.report.measures import label, measure_in, written
from truehessian.report.tables import errors, select
from truehessian.report.truth_findings import of_self_test, of_shrinkage, of_true_hessian
from truehessian.spectra.spectrum import ENDS
from truehessian.text import count, listing, number, percent, times, with_error
from truehessian.theory.predictions import PREDICTIONS
from truehessian.theory.shrinkage import CONFIDENCE

_NOTICEABLE = errors.NOTICEABLE


def headlines(tables: Mapping[str, pd.DataFrame], num_examples: int | None = None) -> list[str]:
    """Say in words what the tables of a run show.

    Parameters
    ----------
    tables
        Any of checkpoints, theory_vs_empirical, variance, noise, noise_scaling,
        spectral_distances, true_hessian, self_test and shrinkage, with their columns.
    num_examples
        N, the size of the training data; without it nothing is said of augmented data.

    Returns
    -------
    list of str
        Plain sentences, each number in them computed from a table.
    """
    sentences: list[str] = []
    for name, describe in (
        ("checkpoints", of_checkpoints),
        ("theory_vs_empirical", of_sampling),
        ("variance", of_variance),
        ("noise", of_noise),
        ("noise_scaling", of_noise_scaling),
        ("spectral_distances", of_whole_spectra),
        ("true_hessian", of_true_hessian),
        ("self_test", of_self_test),
    ):
        if name in tables and not tables[name].empty:
            sentences += describe(tables[name])
    if "shrinkage" in tables and not tables["shrinkage"].empty:
        sentences += of_shrinkage(tables["shrinkage"], num_examples)
    return sentences


def of_checkpoints(frame: pd.DataFrame) -> list[str]:
    """Warn of weights, other than initial ones, that have learned nothing of the data."""
    stuck = frame[frame.get("at_chance", False) & (frame["epoch"] > 0)]
    measure = measure_in(frame)
    if stuck.empty or measure is None:
        return []
    epochs = listing([str(epoch) for epoch in stuck["epoch"]])
    best = written(measure, stuck[f"train_{measure}"].max())
    return [
        f"Warning: at epoch {epochs} the training {label(measure)} is {best} at most, no more than "
        "by chance: nothing is learned, or the weights belong to other data or normalisation."
    ]


def of_sampling(frame: pd.DataFrame) -> list[str]:
    """Compare the smallest batches of the last epoch with the full data, then all predictions."""
    last = select.last_epoch(frame)
    smallest = last[last["batch_size"] == last["batch_size"].min()]
    sentences = [
        _of_batches(rows.iloc[0])
        for rows in (select.at_end(smallest, end) for end in ENDS)
        if len(rows)
    ]
    return sentences + _of_predictions(errors.missed(frame), len(frame))


def _of_predictions(missed: pd.DataFrame, cases: int) -> list[str]:
    """Say how far each prediction misses the shift, and of how many cases that is the median."""
    labels = _labels() | {errors.CHOSEN: "the one chosen beforehand"}
    shares = []
    for name in (name for name in labels if name in missed and missed[name].notna().any()):
        values = missed[name].dropna()
        fewer = f" (of {len(values)})" if len(values) < len(missed) else ""
        shares.append(f"{labels[name]} by {percent(values.median())}{fewer}")
    if not shares:
        return []
    shift = f"a shift of more than {_NOTICEABLE} standard errors"
    opening = f"Of {cases} combinations of epoch, batch size and end, one has {shift}, which"
    if len(missed) > 1:
        opening = (
            f"In the median over {len(missed)} of {cases} combinations of epoch, batch size and "
            f"end, those with {shift}, which"
        )
    return [f"{opening} the predictions miss: {listing(shares)}."]


def _of_batches(row: pd.Series) -> str:
    full, mean, shift = row["full"], row["batch_mean"], row["batch_mean"] - row["full"]
    against = f"against {number(full)} on the full data"
    if full * mean > 0:
        against = f"{times(mean / full)} the full-data value of {number(full)}"
    opening = (
        f"At epoch {row['epoch']} and B = {count(row['batch_size'])} the {row['end']} eigenvalue "
        f"of the mini-batch Hessian is {with_error(mean, row['batch_standard_error'])} on "
        f"average over {row['folds']} batches, {against}"
    )
    if abs(shift) <= _NOTICEABLE * row["batch_standard_error"]:
        return f"{opening}; the shift is within {_NOTICEABLE} standard errors of zero."
    shares = [
        f"the {label} one for {percent((row[column] - full) / shift)}"
        for column, label in _labels().items()
        if not math.isnan(row.get(column, math.nan))
    ]
    if not shares:
        return f"{opening}."
    shares[0] = shares[0].replace("one for", "prediction accounts for", 1)
    return f"{opening}. Of the shift of {number(shift)}, {listing(shares)}."


def _labels() -> dict[str, str]:
    return {name: entry.label for name, entry in PREDICTIONS.entries().items()}


def of_variance(frame: pd.DataFrame) -> list[str]:
    """Compare the variance along the top Ritz vector with that along random directions."""
    last = select.last_epoch(frame)
    random = select.isotropic_variance(last).value
    top = select.variance_along(last, "largest", 1).value
    if math.isnan(random) or math.isnan(top) or random <= 0:
        return []
    return [
        f"At epoch {last['epoch'].iloc[0]} the Hessian varies over examples {times(top / random)} "
        f"as much along its top Ritz vector (V = {number(top)}) as along a random direction "
        f"(Pσ² = {number(random)})."
    ]


def of_noise(frame: pd.DataFrame) -> list[str]:
    """Compare the extremes of the noise with the edge of noise that is alike in all directions."""
    ratios = pd.concat([(frame[end].abs() / frame["edge"]).dropna() for end in ENDS])
    if ratios.empty:
        return []
    return [
        f"The extremes of the noise H_B - H lie {number(ratios.min(), 2)} to "
        f"{number(ratios.max(), 2)} times as far out as the edge that noise alike in all "
        "directions would have."
    ]


def of_noise_scaling(frame: pd.DataFrame) -> list[str]:
    """Say how the size of the noise depends on the batch size."""
    rows = frame[frame["quantity"] == "frobenius_norm"]
    if rows.empty:
        return []
    row = rows.iloc[-1]
    interval = ""
    if not math.isnan(row["low"]):
        interval = (
            f" ({percent(CONFIDENCE)} interval {number(row['low'], 2)} to {number(row['high'], 2)})"
        )
    return [
        f"The Frobenius norm of the noise goes as (1/B - 1/N) to the power of "
        f"{number(row['exponent'], 2)}{interval}; independent examples make it 1/2."
    ]


def of_whole_spectra(frame: pd.DataFrame) -> list[str]:
    """Compare what is predicted of whole spectra with leaving them as they are."""
    parts = {
        "that of all the data": frame[frame["prediction"] == "full"],
        "a semicircle added": frame[frame["prediction"] == "semicircle"],
        "the prediction that was chosen beforehand": frame[frame["chosen"]],
    }
    medians = {words: rows["wasserstein"].median() for words, rows in parts.items()}
    known = [
        f"by {number(median, 2)} with {words}" for words, median in medians.items() if median >= 0
    ]
    if not known:
        return []
    floor = frame["floor"].median()
    halves = f"; two halves of the batches are {number(floor, 2)} apart" if floor >= 0 else ""
    return [
        "Whole spectra of batches are missed (Wasserstein's distance in their own standard "
        f"deviations, median over epochs and batch sizes) {listing(known)}{halves}."
    ]
