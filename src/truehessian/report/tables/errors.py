"""How far predictions miss what was measured, in units of the shift, beside what they take.

As in `extremes`, column names and their order are a contract, missing values are NaN, and every
function accepts tables read back from CSV.
"""

import numpy as np
import pandas as pd

from truehessian.report.tables import select
from truehessian.spectra.spectrum import ENDS
from truehessian.theory.predictions import PREDICTIONS
from truehessian.theory.predictions.base import WIDTH

COLUMNS = (
    "prediction", "end", "cases", "missed_median", "missed_nine_in_ten", "missed_worst", "within",
    "measurement_error", "passes", "expected_median", "surprises",
)  # fmt: skip
CHOSEN = "chosen"  # beside the names of predictions: the one named beforehand
_SURPRISING = 2.0  # times what was stated
NOTICEABLE = 2  # standard errors, below which a difference is not interpreted


def noticeable(theory: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows whose measured shift exceeds two standard errors, or has no error."""
    shift = (theory["batch_mean"] - theory["full"]).abs()
    return theory[~(shift <= NOTICEABLE * theory["batch_standard_error"]) & (shift > 0)]


def missed(theory: pd.DataFrame) -> pd.DataFrame:
    """Relate how far each prediction misses the measured mean to the measured shift.

    Parameters
    ----------
    theory
        From `sampling.theory_vs_empirical`.

    Returns
    -------
    DataFrame
        A column per prediction, and `chosen`: |prediction - mean| / |mean - full|. The rows of
        `noticeable`, with their index; a missing prediction is NaN.
    """
    rows = noticeable(theory)
    columns = [name for name in PREDICTIONS if name in rows]
    distances = rows[columns].astype(float).sub(rows["batch_mean"], axis=0).abs()
    shares = distances.div((rows["batch_mean"] - rows["full"]).abs(), axis=0)
    return _with_chosen(shares, rows)


def prediction_errors(theory: pd.DataFrame) -> pd.DataFrame:
    """Sum up for each prediction and end how far it misses, and what it takes.

    Parameters
    ----------
    theory
        From `sampling.theory_vs_empirical`, of all epochs and batch sizes.

    Returns
    -------
    DataFrame
        A row per prediction, and `chosen`, and end, with the columns of `COLUMNS`. Shares of the
        shift that are missed: in the median over the `cases` (epochs and batch sizes with a shift
        of more than two standard errors, of which there is a prediction), below which nine in ten
        lie, and the worst. `within`: in what share of the cases the difference is within the 95 %
        intervals of prediction and mean together. `measurement_error`: the standard error of the
        measured mean in units of the shift, median; nothing can be seen to be better. `passes`:
        what the prediction took beside the full spectrum, at most, in products with all the data.
        `expected_median`: what it stated beforehand that it would miss, median; `surprises`: the
        share of the cases in which it missed more than twice that and the measurement's standard
        error together. No row where there is no case.
    """
    shares, rows = missed(theory), noticeable(theory)
    within = _with_chosen(_within(rows), rows)
    passes = _with_chosen(_of_each(rows, "passes"), rows)
    stated = _with_chosen(_of_each(rows, "expected_error"), rows)
    error = (rows["batch_standard_error"] / (rows["batch_mean"] - rows["full"]).abs()).astype(float)
    both = np.hypot(stated, error.fillna(0).to_numpy()[:, None])
    surprises = shares.gt(_SURPRISING * both).astype(float).where(stated.notna())
    found = []
    for name in shares.columns:
        for end in ENDS:
            own = select.at_end(rows, end).index.intersection(shares[name].dropna().index)
            if own.empty:
                continue
            values = shares.loc[own, name]
            summed_up = (values.median(), values.quantile(0.9), values.max())
            beside = (
                within.loc[own, name].mean(),
                error[own].median(),
                passes.loc[own, name].max(),
                stated.loc[own, name].median(),
                surprises.loc[own, name].mean(),
            )
            found.append((name, end, len(own), *summed_up, *beside))
    return pd.DataFrame(found, columns=list(COLUMNS))


def _within(rows: pd.DataFrame) -> pd.DataFrame:
    """Whether the difference is within both intervals together: 1 or 0, NaN where either lacks."""
    found = {}
    error = WIDTH * rows["batch_standard_error"].astype(float)
    for name in (name for name in PREDICTIONS if name in rows):
        distance = rows["batch_mean"] - rows[name].astype(float)
        if f"{name}_low" not in rows:
            found[name] = pd.Series(np.nan, rows.index)
            continue
        outer = rows[f"{name}_high"].where(distance > 0, rows[f"{name}_low"]).astype(float)
        reach = np.hypot(outer - rows[name].astype(float), error)
        inside = pd.Series(distance.abs() <= reach, rows.index)
        found[name] = inside.astype(float).where(np.isfinite(reach))
    return pd.DataFrame(found, rows.index)


def _of_each(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Take the columns `goe_passes` and so on, by the names of the predictions."""
    names = [name for name in PREDICTIONS if name in rows]
    columns = rows.reindex(columns=[f"{name}_{what}" for name in names])
    return columns.set_axis(names, axis=1).astype(float)


def _with_chosen(values: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Add a column of what the prediction has that a row names."""
    if CHOSEN not in rows:
        return values
    is_chosen = pd.DataFrame({name: rows[CHOSEN] == name for name in values.columns}, values.index)
    return values.assign(**{CHOSEN: values.astype(float).where(is_chosen).max(axis="columns")})
