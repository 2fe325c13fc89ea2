"""The numbers of a run beside published ones."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from truehessian.report.papers import published
from truehessian.report.papers.published import ARCHITECTURES
from truehessian.report.tables import select

COLUMNS = (
    "paper", "item", "quantity", "architecture", "published", "status", "ours", "standard_error",
    "ratio", "difference", "network", "setting", "source",
)  # fmt: skip
SAME, OTHER = "the paper's", "not the paper's network"
# Ratios mean the same for any network; eigenvalues and variances do not.
DIMENSIONLESS = (
    "broadening", "goe_broadening", "goe_over_batch", "parameters_per_example",
    "smallest_contraction",
)  # fmt: skip


class Results(NamedTuple):
    """Tables of one run that hold what was published of others.

    Attributes
    ----------
    extremal
        From `tables.extremal_ritz_values`.
    theory
        From `sampling.theory_vs_empirical`, or None.
    variance
        As for `sampling.outliers`, or None.
    num_parameters, num_examples
        P and N.
    weight_decay
        What the matrices have of the identity, which the papers' have not: it is taken off.
    """

    extremal: pd.DataFrame
    theory: pd.DataFrame | None
    variance: pd.DataFrame | None
    num_parameters: int
    num_examples: int
    weight_decay: float = 0.0


class _Setting(NamedTuple):
    """Where a number is looked up; None where it does not matter."""

    epoch: int | None
    batch_size: int | None
    factor: int | None


class _Value(NamedTuple):
    value: float = math.nan
    standard_error: float = math.nan


def architecture_of(dataset: str, num_examples: int, num_parameters: int) -> str | None:
    """Name the paper's network that has these parameters on the paper's data; None if none has."""
    if dataset != "cifar100" or num_examples != published.NUM_EXAMPLES:
        return None
    matches = (n for n, kind in ARCHITECTURES.items() if kind.num_parameters == num_parameters)
    return next(matches, None)


def beside_published(
    results: Results, dataset: str, model: Mapping[str, Any], numbers: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Set the numbers of a run beside published ones.

    Parameters
    ----------
    results
        Of the run.
    dataset
        Name of its data set.
    model
        Its model section: name and arguments.
    numbers
        From `published.load`, which is called if they are not given.

    Returns
    -------
    DataFrame
        One row per published number with the columns of `COLUMNS`. Of one of the papers' networks
        every number is listed, and `ours` is NaN where the epoch, batch size or factor was not
        measured. Of another network there are only ratios, marked in `network`, at the last epoch
        and the batch size nearest to the paper's.
    """
    numbers = published.load() if numbers is None else numbers
    same = architecture_of(dataset, results.num_examples, results.num_parameters)
    if same is not None:
        chosen = numbers[numbers["architecture"] == same]
        rows = [_row(record, results, same) for record in chosen.to_dict("records")]
        return pd.DataFrame(rows, columns=list(COLUMNS))
    chosen = numbers[numbers["quantity"].isin(DIMENSIONLESS)]
    kinds = [name for name, kind in ARCHITECTURES.items() if kind.is_kind_of(model)]
    chosen = chosen[chosen["architecture"].isin(kinds)] if kinds else chosen
    # Where a paper gives two epochs for one number, other networks have but one.
    chosen = chosen.drop_duplicates(["paper", "item", "architecture", "quantity"])
    rows = [_row(record, results, None) for record in chosen.to_dict("records")]
    return pd.DataFrame(rows, columns=list(COLUMNS)).dropna(subset="ours", ignore_index=True)


def _row(record: Mapping[Any, Any], results: Results, same: str | None) -> dict[str, Any]:
    at = _setting(record, results, nearest=same is None)
    ours = _QUANTITIES[record["quantity"]](results, at)
    return {
        **record,
        "ours": ours.value,
        "standard_error": ours.standard_error,
        "ratio": ours.value / record["published"],
        "difference": ours.value - record["published"],
        "network": OTHER if same is None else SAME,
        "setting": _worded(at, results, measured=not math.isnan(ours.value)),
    }


def _setting(record: Mapping[Any, Any], results: Results, *, nearest: bool) -> _Setting:
    """Where to look: the paper's setting, or for other networks the nearest there is."""
    asked = {
        key: None if pd.isna(record[key]) else int(record[key])
        for key in ("epoch", "batch_size", "factor")
    }
    if nearest and asked["epoch"] is not None:
        asked["epoch"] = int(results.extremal["epoch"].max())
    sizes = results.extremal["batch_size"].dropna().unique()
    if nearest and asked["batch_size"] is not None and len(sizes):
        wanted = asked["batch_size"]
        asked["batch_size"] = int(min(sizes, key=lambda size: abs(math.log(size / wanted))))
    return _Setting(**asked)


def _worded(at: _Setting, results: Results, *, measured: bool) -> str:
    parts = [] if at.epoch is None else [f"epoch {at.epoch}"]
    parts += [] if at.batch_size is None else [f"B = {at.batch_size:,}"]
    parts += [] if at.factor is None else [f"augmented {at.factor} times"]
    parts += [f"N = {results.num_examples:,}", "training split"]
    return ("" if measured else "not measured: ") + ", ".join(parts)


def _extremes(results: Results, at: _Setting, end: str, *, batch: bool) -> _Value:
    """Mean over folds of the extreme of batches, or that of the full or augmented data."""
    frame = select.at_end(select.hessians(results.extremal), end)
    size = at.batch_size if batch else None
    chosen = select.of_sample(select.at_epoch(frame, at.epoch), batch_size=size, factor=at.factor)
    values = chosen["value"].to_numpy(float) - results.weight_decay
    if not len(values):
        return _Value()
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return _Value(float(values.mean()), float(error))


def _full(results: Results, at: _Setting) -> _Value:
    return _extremes(results, at, "largest", batch=False)


def _batch(results: Results, at: _Setting) -> _Value:
    return _extremes(results, at, "largest", batch=True)


def _predicted(results: Results, at: _Setting) -> _Value:
    theory = results.theory
    if theory is None:
        return _Value()
    here = select.at_end(select.at_epoch(theory, at.epoch), "largest")
    values = here.loc[here["batch_size"] == at.batch_size, "goe"].to_numpy(float)
    return _Value(values.mean() - results.weight_decay if len(values) else math.nan)


def _isotropic(results: Results, at: _Setting) -> _Value:
    if results.variance is None:
        return _Value()
    here = select.at_epoch(results.variance, at.epoch)
    return _Value(*select.isotropic_variance(here)) if len(here) else _Value()


def _along_top(results: Results, at: _Setting) -> _Value:
    if results.variance is None:
        return _Value()
    here = select.at_epoch(results.variance, at.epoch)
    return _Value(*select.variance_along(here, "largest", 1))


def _element(results: Results, at: _Setting) -> _Value:
    return _over(_isotropic(results, at), results.num_parameters)


def _contraction(results: Results, at: _Setting) -> _Value:
    whole = _extremes(results, at._replace(factor=None), "smallest", batch=False)
    return _over(_extremes(results, at, "smallest", batch=False), whole.value)


def _over(value: _Value, divisor: float) -> _Value:
    return _Value(value.value / divisor, value.standard_error / abs(divisor))


_QUANTITIES: dict[str, Callable[[Results, _Setting], _Value]] = {
    "num_parameters": lambda results, at: _Value(results.num_parameters),
    "parameters_per_example": lambda results, at: _Value(
        results.num_parameters / results.num_examples
    ),
    "full_largest": _full,
    "batch_largest": _batch,
    "goe_largest": _predicted,
    "broadening": lambda results, at: _over(_batch(results, at), _full(results, at).value),
    "goe_broadening": lambda results, at: _over(_predicted(results, at), _full(results, at).value),
    "goe_over_batch": lambda results, at: _over(_predicted(results, at), _batch(results, at).value),
    "isotropic_variance": _isotropic,
    "variance_along_top": _along_top,
    "element_variance": _element,
    "smallest_contraction": _contraction,
}
