"""Headline findings of the true Hessian: tables in, sentences out."""

import math

import pandas as pd

from truehessian.report.tables import select
from truehessian.spectra.spectrum import ENDS
from truehessian.text import count, listing, number, percent, with_error
from truehessian.theory.estimates import cross_validation
from truehessian.theory.shrinkage import CONFIDENCE
from truehessian.theory.verdicts import FEW


def of_self_test(frame: pd.DataFrame) -> list[str]:
    """Say what correcting by cross-validation leaves of the bias where the truth is known."""
    smallest = frame[frame["num_examples"] == frame["num_examples"].min()]
    sentences = []
    for end in ENDS:
        rows = select.at_end(smallest, end)
        naive = rows[rows["estimator"] == "naive"].set_index("epoch")
        better = rows[rows["estimator"] == "cross_validated"].set_index("epoch")
        share = (better["bias"].abs() / naive["bias"].abs()).dropna()
        if share.empty:
            continue
        outward = (naive["bias"] / naive["truth"]).median()
        sentences.append(
            f"Where {count(rows['num_examples'].iloc[0])} of the examples play the data set and "
            f"all of them the truth, the {end} eigenvalue is biased outward by {percent(outward)} "
            f"in the median over epochs; cross-validation leaves {percent(share.median())} of the "
            f"bias, and its {percent(cross_validation.CONFIDENCE)} intervals hold the truth in "
            f"{percent(better['coverage'].mean())} of the cases."
        )
    return sentences


def of_true_hessian(frame: pd.DataFrame) -> list[str]:
    """Say where the sign of the smallest eigenvalue is known, and what the largest one is."""
    judged = frame[frame["rank"] == 1].dropna(subset=["sign"])
    known = judged[judged[["estimate_low", "estimate_high"]].notna().any(axis=1)]
    bottom = select.at_end(known, "smallest").sort_values("epoch")
    top = select.at_end(known, "largest").sort_values("epoch")
    sentences = [] if bottom.empty else [_of_signs(bottom)]
    return sentences if top.empty else [*sentences, _of_the_largest(top.iloc[-1])]


def _of_signs(bottom: pd.DataFrame) -> str:
    places = [
        f"{sign} at epoch {listing([str(epoch) for epoch in rows['epoch']])}"
        for sign, rows in bottom.groupby("sign", sort=False)
    ]
    sentence = f"The sign of the true Hessian's smallest eigenvalue is {listing(places)}"
    quotients = bottom.dropna(subset="z")
    if quotients.empty:
        return f"{sentence}."
    clearest = quotients.sort_values("z").iloc[0]
    quotient = with_error(clearest["held_out"], clearest["held_out_standard_error"])
    return (
        f"{sentence}; along the bottom Ritz vector of the training Hessian examples held out have "
        f"the curvature {quotient} at epoch {clearest['epoch']}, z = {number(clearest['z'], 2)}."
    )


def _of_the_largest(row: pd.Series) -> str:
    own, low, high = row["empirical"], row["estimate_low"], row["estimate_high"]
    judgement = "the two agree"
    if own < low:
        judgement = "the training Hessian understates it"
    if own > high:
        judgement = "the training Hessian overstates it"
    estimate = f"at least {number(low)}"
    if not math.isnan(high):
        interval = f"{number(low)} to {number(high)}"
        estimate = f"{number(row['estimate'])}, {percent(cross_validation.CONFIDENCE)} {interval}"
    sentence = (
        f"At epoch {row['epoch']} the largest eigenvalue of the training Hessian is {number(own)}, "
        f"and that of the true one is estimated from examples held out ({estimate}): {judgement}."
    )
    carriers = row.get("test_effective_examples", math.nan)
    if carriers < FEW:
        sentence += f" Few of these examples carry it, about {count(max(round(carriers), 1))}."
    return sentence


def of_shrinkage(frame: pd.DataFrame, num_examples: int | None) -> list[str]:
    """Say where the extremes go as the sample grows, at the last epoch."""
    last = select.last_epoch(frame)
    sentences = []
    for end in ENDS:
        rows = select.at_end(last, end).sort_values("num_examples", kind="stable")
        # Of original and augmented examples of one number, the originals, which come first.
        rows = rows.drop_duplicates("num_examples")
        if rows.empty:
            continue
        sentences += _of_more_examples(rows, num_examples)
        law = rows.iloc[0]
        if math.isnan(law["inherent_limit"]):
            continue
        sentence = (
            f"As ℓ + a/T, the {end} eigenvalue at epoch {law['epoch']} tends to "
            f"{number(law['inherent_limit'])} for a large sample"
        )
        low, high = law["inherent_low"], law["inherent_high"]
        if not math.isnan(low):
            zero = "includes" if low <= 0 <= high else "excludes"
            interval = f"{number(low)} to {number(high)}, which {zero} zero"
            sentence += f" ({percent(CONFIDENCE)} interval {interval})"
        if law.get("better") in ("inherent", "vanishing"):
            inherent = law["better"] == "inherent"
            sentence += f"; c/√T, pure noise, fits {'worse' if inherent else 'better'}"
        sentences.append(f"{sentence}.")
    return sentences


def _of_more_examples(rows: pd.DataFrame, num_examples: int | None) -> list[str]:
    values = rows.set_index("num_examples")["value"]
    if num_examples is None or num_examples not in values.index:
        return []
    most = int(values.index.max())
    if most == num_examples:
        return []
    return [
        f"From {count(num_examples)} to {count(most)} examples the {rows['end'].iloc[0]} "
        f"eigenvalue at epoch {rows['epoch'].iloc[0]} goes from "
        f"{number(values[num_examples])} to {number(values[most])}; pure noise would shrink by "
        f"a factor of {number(math.sqrt(most / num_examples))}."
    ]
