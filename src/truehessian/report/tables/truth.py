"""Tables of the true Hessian: estimates side by side, shrinkage, and the estimators' self-test.

As in `tables`, column names and their order are a contract, missing values are NaN, and every
function accepts tables read back from CSV.
"""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from truehessian.report.tables import select
from truehessian.theory import verdicts
from truehessian.theory.estimates.cross_validation import cross_validate
from truehessian.theory.estimates.inversion import invert
from truehessian.theory.shrinkage import fit_shrinkage

SHRINKAGE_COLUMNS = (
    "epoch", "end", "num_examples", "value", "inherent_limit", "inherent_low", "inherent_high",
    "inherent_slope", "inherent_fit", "vanishing_coefficient", "vanishing_low", "vanishing_high",
    "vanishing_fit", "better", "inherent_aicc", "vanishing_aicc", "exponent", "exponent_low",
    "exponent_high", "data", "subsets", "standard_error",
)  # fmt: skip
TRUE_HESSIAN_COLUMNS = (
    "epoch", "end", "rank", "empirical", "inverted_goe", "inverted_directional", "held_out",
    "held_out_standard_error", "z", "bracket_low", "bracket_high", "verdict", "inversion",
    "test", "bracket_holds_test", "cross_validated", "cross_validated_low", "cross_validated_high",
)  # fmt: skip
SELF_TEST_COLUMNS = (
    "epoch", "num_examples", "end", "estimator", "truth", "repetitions", "identifiable", "bias",
    "bias_standard_error", "bias_of_naive", "root_mean_square_error", "coverage", "interval_width",
)  # fmt: skip

_ORIGINAL, _AUGMENTED = "original", "augmented"


def shrinkage(
    extremal: pd.DataFrame, subsamples: pd.DataFrame | None = None, weight_decay: float = 0.0
) -> pd.DataFrame:
    """Follow the extremal eigenvalues of the training Hessian as the sample grows.

    Parameters
    ----------
    extremal
        From `tables.extremal_ritz_values`: batches, the full data and augmented data.
    subsamples
        The same of disjoint random parts of the training data.
    weight_decay
        What the matrices have of the identity. The laws are those of the values without it, since
        noise vanishes beside the loss alone, and it is added to limits and fitted values.

    Returns
    -------
    DataFrame
        One row per epoch, end, data and number of examples, with the columns of
        `SHRINKAGE_COLUMNS`: the value (the mean over random subsets of this size), then the laws
        of `shrinkage.fit_shrinkage`, and their values at this number of examples. Augmented images
        are other `data` than the original ones and have laws of their own; those are NaN and
        "undecided" where only one number of examples was measured.
    """
    everything = extremal if subsamples is None else pd.concat([extremal, subsamples])
    hessian = select.hessians(everything)
    data = hessian["factor"].isna().map({True: _ORIGINAL, False: _AUGMENTED})
    hessian = hessian.assign(data=data)
    parts = []
    for (epoch, end), group in hessian.groupby(["epoch", "end"]):
        for kind in (_ORIGINAL, _AUGMENTED):
            part = group[group["data"] == kind]
            if part.empty:
                continue
            keys = {"epoch": epoch, "end": end, "data": kind, "better": "undecided"}
            parts.append(_with_laws(part, keys, weight_decay))
    if not parts:
        return pd.DataFrame(columns=list(SHRINKAGE_COLUMNS))
    return pd.concat(parts, ignore_index=True)


_OF_EIGENVALUES = ("inherent_limit", "inherent_low", "inherent_high")


def _with_laws(group: pd.DataFrame, keys: Mapping[str, Any], decay: float) -> pd.DataFrame:
    """Tabulate the values of one end at one epoch on one kind of data, with their laws."""
    points = group.groupby("num_examples")["value"].agg(["mean", "size", "std"]).reset_index()
    frame = pd.DataFrame(
        {
            "num_examples": points["num_examples"].astype("int64"),
            "value": points["mean"],
            "subsets": points["size"],
            "standard_error": points["std"] / np.sqrt(points["size"]),
            **keys,
        },
        columns=list(SHRINKAGE_COLUMNS),
    )
    if len(points) > 1:
        # An eigenvalue of T examples fluctuates as T^(-1/2), a mean over subsets by less. The
        # measured errors are too rough themselves to be weights.
        sizes = frame["num_examples"].to_numpy()
        errors = 1 / np.sqrt(sizes * points["size"].to_numpy())
        fit = fit_shrinkage(sizes, frame["value"].to_numpy() - decay, errors)
        laws = {key: value for key, value in fit._asdict().items() if key in frame.columns}
        laws |= {key: laws[key] + decay for key in _OF_EIGENVALUES}
        fitted = {"inherent_fit": fit.inherent(sizes), "vanishing_fit": fit.vanishing(sizes)}
        fitted = {key: values + decay for key, values in fitted.items()}
        frame = frame.assign(**laws, **fitted)
    text = ("epoch", "end", "num_examples", "better", "data", "subsets")
    numbers = [column for column in SHRINKAGE_COLUMNS if column not in text]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def true_hessian(
    extremal: pd.DataFrame,
    variance: pd.DataFrame,
    held_out: pd.DataFrame,
    weight_decay: float = 0.0,
) -> pd.DataFrame:
    """Set the estimates of the true Hessian's extremal eigenvalues side by side.

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
        num_examples, bracket_folds and bracket_deviation.
    weight_decay
        What all these matrices have of the identity. Inversions are of the values without it.
        Quotients, brackets and signs are those of the true Hessian with it.

    Returns
    -------
    DataFrame
        One row per epoch, end and rank, with the columns of `TRUE_HESSIAN_COLUMNS`. An inverted
        value is NaN where the eigenvalue lies inside the noise, or V was not measured; `inversion`
        says which of `inverted_directional`. `bracket_holds_test` checks the arithmetic: equal
        folds bracket the extremes of their mean always. The verdict says where bracket and
        quotient disagree.
    """
    full = select.of_sample(select.hessians(extremal))
    known = {(row.epoch, row.end) for row in held_out.itertuples() if row.rank == 1}
    records: list[dict[Hashable, Any]] = held_out.to_dict("records")
    records += [
        {"epoch": row.epoch, "end": row.end, "rank": 1, "empirical": row.value}
        for row in full.itertuples()
        if (row.epoch, row.end) not in known
    ]
    of_test = select.hessians(extremal, "test")
    tests = of_test.set_index(["epoch", "end"])["value"].to_dict()
    rows = [
        {
            **row,
            **_inversions(row, select.at_epoch(variance, row["epoch"]), weight_decay),
            **_verdicts(row),
            **_on_the_test_split(row, tests.get((row["epoch"], row["end"]), math.nan)),
        }
        for row in records
    ]
    frame = pd.DataFrame(rows, columns=list(TRUE_HESSIAN_COLUMNS))
    frame["bracket_holds_test"] = frame["bracket_holds_test"].astype("boolean")
    return frame.sort_values(["epoch", "end", "rank"], ignore_index=True)


def _inversions(
    row: Mapping[Hashable, Any], variance: pd.DataFrame, decay: float
) -> dict[str, Any]:
    num_examples = 1 if variance.empty else int(variance["num_examples"].iloc[0])
    along = select.variance_along(variance, row["end"], row["rank"]).value
    isotropic = select.isotropic_variance(variance).value
    own = row["empirical"] - decay
    directional = float(invert(own, along, num_examples)) + decay
    return {
        "inverted_goe": float(invert(own, isotropic, num_examples)) + decay,
        "inverted_directional": directional,
        "inversion": verdicts.identifiability(directional, along),
    }


def _verdicts(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    held_out = row.get("held_out", math.nan), row.get("held_out_standard_error", math.nan)
    bracket = row.get("bracket_low", math.nan), row.get("bracket_high", math.nan)
    z, verdict = verdicts.held_out_verdict(*held_out, row["end"])
    clause = verdicts.bracket_verdict(*held_out, *bracket, row["end"])
    return {"z": z, "verdict": "; ".join(filter(None, [verdict, clause]))}


def _on_the_test_split(row: Mapping[Hashable, Any], test: float) -> dict[str, Any]:
    """Compare the bracket with the extreme of the whole test split; estimate the true one."""
    low, high = row.get("bracket_low", math.nan), row.get("bracket_high", math.nan)
    if row["rank"] != 1 or math.isnan(test):
        return {}
    columns: dict[str, Any] = {"test": test}
    if math.isnan(low) or math.isnan(high):
        return columns
    columns["bracket_holds_test"] = low <= test <= high
    folds = row.get("bracket_folds", math.nan)
    if math.isnan(folds):  # a table from elsewhere
        return columns
    inner, outer = (low, high) if row["end"] == "largest" else (high, low)
    num_examples = int(row["num_examples"])
    found = cross_validate(
        test,
        outer,
        inner,
        row["bracket_deviation"],
        fitted=num_examples / folds,
        num_examples=num_examples,
    )
    return columns | {
        "cross_validated": found.value,
        "cross_validated_low": found.low,
        "cross_validated_high": found.high,
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
        One row per epoch, number of examples, end and estimator, with the columns of
        `SELF_TEST_COLUMNS`. `identifiable` is the share of subsamples with an estimate, and all
        but `repetitions` is over these; `bias_of_naive` is |bias| as a share of the naive
        estimator's over the same subsamples. The standard error takes subsamples for independent:
        within a partition they are not, which makes it too large.
    """
    keys = ["epoch", "num_examples", "end", "estimator"]
    naive = guesses[guesses["estimator"] == "naive"]
    sample = ["epoch", "num_examples", "end", "repetition"]
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
