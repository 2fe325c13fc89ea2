"""Tables of the true Hessian: estimates side by side, and the estimators' self-test.

As in `tables`, column names and their order are a contract, missing values are NaN, and every
function accepts tables read back from CSV.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from truehessian.report.tables import select
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum
from truehessian.theory import verdicts
from truehessian.theory.estimates import carriers
from truehessian.theory.estimates.cross_validation import cross_validate
from truehessian.theory.estimates.inversion import invert
from truehessian.theory.predictions.noise import SubspaceNoise

TRUE_HESSIAN_COLUMNS = (
    "epoch", "end", "rank", "empirical", "inverted_goe", "inverted_directional", "held_out",
    "held_out_standard_error", "z", "bracket_low", "bracket_high", "verdict", "inversion",
    "test", "bracket_holds_test", "cross_validated", "cross_validated_low", "cross_validated_high",
    "estimate", "estimate_low", "estimate_high", "sign", "disagreements", "effective_examples",
    "test_effective_examples",
)  # fmt: skip
SELF_TEST_COLUMNS = (
    "epoch", "num_examples", "end", "estimator", "truth", "repetitions", "identifiable", "bias",
    "bias_standard_error", "bias_of_naive", "root_mean_square_error", "coverage", "interval_width",
    "rank",
)  # fmt: skip


def true_hessian(
    extremal: pd.DataFrame,
    variance: pd.DataFrame,
    held_out: pd.DataFrame,
    weight_decay: float = 0.0,
    subspaces: Mapping[int, SubspaceNoise] | None = None,
    of_test: Iterable[Spectrum] = (),
) -> pd.DataFrame:
    """Set the estimates of the true Hessian's extremal eigenvalues side by side, and judge them.

    Parameters
    ----------
    extremal
        From `tables.extremal_ritz_values`; its full training Hessians supply rank 1 where
        `held_out` has no row, its test Hessians the column `test`.
    variance
        As for `tables.theory_vs_empirical`; "top-2" is the direction of the second largest value.
    held_out
        Columns epoch, end, rank (from 1), empirical, held_out, held_out_standard_error,
        bracket_low, bracket_high (NaN beyond rank 1), and for the cross-validated estimate
        num_examples, bracket_folds, bracket_deviation, fitted_value and crossed.
    weight_decay
        What all these matrices have of the identity. Inversions are of the values without it.
        Quotients, brackets and signs are those of the true Hessian with it.
    subspaces
        By epoch, for the number of training examples that carry each eigenvalue.
    of_test
        Spectra of the test split, for ranks beyond the first.

    Returns
    -------
    DataFrame
        One row per epoch, end and rank, with the columns of `TRUE_HESSIAN_COLUMNS`. An inverted
        value is NaN where the eigenvalue lies inside the noise, or V was not measured; `inversion`
        says which of `inverted_directional`. `bracket_holds_test` checks the arithmetic: equal
        folds bracket the extremes of their mean always. `estimate` with its interval, `sign`, the
        `verdict` in words and the `disagreements` of other estimates are those of
        `verdicts.judge`. `effective_examples` are those of the training data that carry
        `empirical`, `test_effective_examples` those of the test split along its own vectors.
    """
    full = select.of_sample(select.hessians(extremal))
    known = {(row.epoch, row.end) for row in held_out.itertuples() if row.rank == 1}
    records: list[dict[Hashable, Any]] = held_out.to_dict("records")
    records += [
        {"epoch": row.epoch, "end": row.end, "rank": 1, "empirical": row.value}
        for row in full.itertuples()
        if (row.epoch, row.end) not in known
    ]
    ranks = int(held_out["rank"].max()) if len(held_out) else 1
    tests = _values_of_test(extremal, of_test, ranks)
    rows = []
    for record in records:
        key = record["epoch"], record["end"], record["rank"]
        row = record | _inversions(record, select.at_epoch(variance, record["epoch"]), weight_decay)
        row |= _on_the_test_split(record, tests.get(key, math.nan), weight_decay)
        noise = None if subspaces is None else subspaces.get(record["epoch"])
        row |= _carriers(record, noise)
        rows.append(row | _judged(row))
    frame = pd.DataFrame(rows, columns=list(TRUE_HESSIAN_COLUMNS))
    frame["bracket_holds_test"] = frame["bracket_holds_test"].astype("boolean")
    return frame.sort_values(["epoch", "end", "rank"], ignore_index=True)


def _values_of_test(
    extremal: pd.DataFrame, spectra: Iterable[Spectrum], ranks: int
) -> dict[tuple[Any, ...], float]:
    """Eigenvalues of the test split by epoch, end and rank."""
    found: dict[tuple[Any, ...], float] = {
        (measured.metadata["epoch"], end, number + 1): float(value)
        for measured in spectra
        for end in ENDS
        for number, value in enumerate(spectrum.ranked(measured, end, ranks)[0])
    }
    rows = select.hessians(extremal, "test").assign(rank=1)
    outermost: dict[Any, Any] = rows.set_index(["epoch", "end", "rank"])["value"].to_dict()
    return found | outermost


def _inversions(
    row: Mapping[Hashable, Any], variance: pd.DataFrame, decay: float
) -> dict[Hashable, Any]:
    num_examples = 1 if variance.empty else int(variance["num_examples"].iloc[0])
    along = select.variance_along(variance, row["end"], row["rank"]).value
    isotropic = select.isotropic_variance(variance).value
    own = row["empirical"] - decay
    directional = float(invert(own, along, num_examples)) + decay
    return {
        "inverted_goe": float(invert(own, isotropic, num_examples)) + decay,
        "inverted_directional": directional,
        "inversion": verdicts.identifiability(directional, along),
        "variance": along,
    }


def _carriers(row: Mapping[Hashable, Any], noise: SubspaceNoise | None) -> dict[Hashable, Any]:
    """Count the training examples that carry an eigenvalue of the loss alone."""
    if noise is None:
        return {}
    counts = carriers.of_ritz_vectors(noise)
    largest = (len(counts) + 1) // 2
    own = counts[:largest] if row["end"] == "largest" else counts[largest:]
    found = float(own[row["rank"] - 1]) if row["rank"] <= len(own) else math.nan
    return {"effective_examples": found, "train_examples": noise.num_examples}


def _on_the_test_split(
    row: Mapping[Hashable, Any], test: float, decay: float
) -> dict[Hashable, Any]:
    """Compare the bracket with the extreme of the whole test split; estimate the true one."""
    columns: dict[Hashable, Any] = {"test": test}
    low, high = row.get("bracket_low", math.nan), row.get("bracket_high", math.nan)
    if not (math.isnan(test) or math.isnan(low) or math.isnan(high)):
        columns["bracket_holds_test"] = low <= test <= high
    crossed, outer = (low, high) if row["end"] == "largest" else (high, low)
    crossed, outer = row.get("crossed", crossed), row.get("fitted_value", outer)
    folds = row.get("bracket_folds", math.nan)
    if any(map(math.isnan, (test, crossed, outer, folds))):  # an inner rank, or a foreign table
        return columns
    num_examples, deviation = int(row["num_examples"]), row["bracket_deviation"]
    found = cross_validate(
        test,
        outer,
        crossed,
        deviation,
        fitted=num_examples / folds,
        num_examples=num_examples,
        degrees_of_freedom=row["groups"] - folds if row.get("groups", 0) > folds else math.inf,
        skewness=row.get("skewness", math.nan),
    )
    return columns | {
        "cross_validated": found.value,
        "cross_validated_low": found.low,
        "cross_validated_high": found.high,
        "test_effective_examples": float(
            carriers.effective_examples(crossed - decay, deviation**2, num_examples)
        ),
    }


def _judged(row: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Make one verdict of a row's estimates; carriers are those of the examples it is made from."""
    known = {field: row[field] for field in verdicts.Evidence._fields if field in row}
    known["inverted"] = row["inverted_directional"]
    if "test_effective_examples" in row:
        known["effective_examples"] = row["test_effective_examples"]
    else:
        known["num_examples"] = row.get("train_examples", math.nan)
    evidence = verdicts.Evidence(**known)
    found = verdicts.judge(evidence)
    return {
        "z": verdicts.z_of(evidence),
        "verdict": found.words,
        "estimate": found.value,
        "estimate_low": found.low,
        "estimate_high": found.high,
        "sign": found.sign,
        "disagreements": found.disagreements,
    }


def self_test(guesses: pd.DataFrame) -> pd.DataFrame:
    """Average the errors of estimators over subsamples on which the truth is known.

    Parameters
    ----------
    guesses
        With the columns of `theory.estimates.guesses`.

    Returns
    -------
    DataFrame
        One row per epoch, number of examples, end, rank and estimator, with the columns of
        `SELF_TEST_COLUMNS`. `identifiable` is the share of subsamples with an estimate, and all
        but `repetitions` is over these; `bias_of_naive` is |bias| as a share of the naive
        estimator's over the same subsamples. The standard error takes subsamples for independent:
        within a partition they are not, which makes it too large.
    """
    keys = ["epoch", "num_examples", "end", "rank", "estimator"]
    naive = guesses[guesses["estimator"] == "naive"]
    sample = ["epoch", "num_examples", "end", "rank", "repetition"]
    shown = naive.set_index(sample)["estimate"].rename("naive")
    joined = guesses.join(shown, on=sample)
    rows = []
    for key, every in joined.groupby(keys, sort=False):
        group = every.dropna(subset="estimate")
        errors = group["estimate"] - group["truth"]
        covered = group["truth"].between(group["low"], group["high"])
        bias = errors.mean()
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "truth": every["truth"].iloc[0],
                "repetitions": len(every),
                "identifiable": len(group) / len(every),
                "bias": bias,
                "bias_standard_error": errors.std() / math.sqrt(max(len(group), 1)),
                "bias_of_naive": abs(bias) / abs((group["naive"] - group["truth"]).mean()),
                "root_mean_square_error": math.sqrt((errors**2).mean()),
                "coverage": covered.mean(),
                "interval_width": (group["high"] - group["low"]).mean(),
            }
        )
    return pd.DataFrame(rows, columns=list(SELF_TEST_COLUMNS))
