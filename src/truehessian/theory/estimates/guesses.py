"""Every estimator's guess at a known truth, from what samples have shown of it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from truehessian.theory.estimates import ESTIMATORS, cross_validation
from truehessian.theory.estimates.seen import Seen

COLUMNS = (
    "epoch", "num_examples", "repetition", "end", "estimator", "estimate", "low", "high", "truth",
    "rank",
)  # fmt: skip


def guesses(seen: Seen, population: int) -> list[tuple[str, float, float, float]]:
    """Make every estimate of the extreme eigenvalue of a population from a sample of it.

    Parameters
    ----------
    seen
        What the sample shows.
    population
        N.

    Returns
    -------
    list of tuple
        Name, estimate, and its interval of 90 %, which reaches as far to both sides for all as
        that of `cross_validation.cross_validate`; NaN where the estimate is inside the noise.
    """
    interval = cross_validation.corrected(seen, population)
    below, above = interval.value - interval.low, interval.high - interval.value
    values = {
        name: entry.estimate(seen, population) for name, entry in ESTIMATORS.entries().items()
    }
    return [(name, value, value - below, value + above) for name, value in values.items()]


def tabulate(samples: pd.DataFrame) -> pd.DataFrame:
    """Let every estimator guess from each of many samples.

    Parameters
    ----------
    samples
        One row per sample, end and rank: columns epoch, repetition, end, population N, truth, the
        fields of `Seen`, and rank.

    Returns
    -------
    DataFrame
        One row per sample, end, rank and estimator, with the columns of `COLUMNS`.
    """
    return pd.DataFrame(_rows(samples), columns=list(COLUMNS))


def _rows(samples: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for row in samples.to_dict("records"):
        seen = Seen(*(row[field] for field in Seen._fields))
        where = row["epoch"], seen.num_examples, row["repetition"], row["end"]
        for guess in guesses(seen, row["population"]):
            yield (*where, *guess, row["truth"], row["rank"])
