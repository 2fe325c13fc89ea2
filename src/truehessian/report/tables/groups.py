"""Extremes and traces by group of parameters."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from truehessian.spectra import density, spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum
from truehessian.spectra.stacks import SUMMARIES, by_group

SUM, WHOLE = SUMMARIES
COLUMNS = (
    "epoch", "group", "num_parameters", "largest", "largest_residual", "smallest",
    "smallest_residual", "trace", "trace_standard_error", "share_of_parameters", "share_of_trace",
)  # fmt: skip


def groups(stacks: Iterable[Spectrum], wholes: Iterable[Spectrum]) -> pd.DataFrame:
    """Set the diagonal blocks of a matrix side by side, and their sum beside the whole.

    Parameters
    ----------
    stacks
        Spectra of groups, one stack for each epoch.
    wholes
        Spectra of whole matrices, of which those of the same epoch, operator and order count.

    Returns
    -------
    DataFrame
        One row per epoch and group, and per epoch one of their `sum`, without extremes, and one of
        the `whole` where it has been measured. Shares are of the parameters of the whole matrix,
        and of the sum of the traces where the groups hold all parameters, else of the whole's
        trace; the share of the row `whole` is then its own trace over that sum.
    """
    measured = {_key(whole): whole for whole in wholes}
    rows = [row for stack in stacks for row in _rows(stack, measured.get(_key(stack)))]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _key(measured: Spectrum) -> tuple[Any, ...]:
    return tuple(measured.metadata[key] for key in ("epoch", "operator", "num_parameters"))


def _rows(stack: Spectrum, whole: Spectrum | None) -> Iterator[dict[str, Any]]:
    parts = {name: _row(each) for name, each in by_group(stack).items()}
    total = {key: sum(row[key] for row in parts.values()) for key in ("num_parameters", "trace")}
    total["trace_standard_error"] = math.hypot(*(r["trace_standard_error"] for r in parts.values()))
    parts[SUM] = total
    if whole is not None:
        parts[WHOLE] = _row(whole)
    size = stack.metadata["num_parameters"]
    complete = total["num_parameters"] == size
    trace = (total if complete else parts.get(WHOLE, {})).get("trace", math.nan)
    for name, row in parts.items():
        yield {
            "epoch": stack.metadata["epoch"],
            "group": name,
            **row,
            "share_of_parameters": row["num_parameters"] / size,
            "share_of_trace": row["trace"] / trace if trace else math.nan,
        }


def _row(measured: Spectrum) -> dict[str, Any]:
    row: dict[str, Any] = {"num_parameters": measured.metadata["num_parameters"]}
    for end in ENDS:
        value, residual = spectrum.extremal(measured, end)
        row |= {end: float(value), f"{end}_residual": float(residual)}
    trace = density.trace_by_moments(measured)
    return row | {
        "trace": float(trace.value),
        "trace_standard_error": float(trace.standard_error),
    }


def only_groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of groups."""
    return frame[~frame["group"].isin(SUMMARIES)]


def gap(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare the sum of the groups' traces with the trace of the whole, where both are the same.

    Returns
    -------
    DataFrame
        One row per epoch at which the groups hold all parameters of a measured whole: epoch, sum,
        whole, and `error`, the standard error of their difference.
    """
    keys = ["epoch", "num_parameters"]
    total, whole = (frame[frame["group"] == name] for name in SUMMARIES)
    both = total.merge(whole, on=keys, suffixes=("_sum", ""))
    error = np.hypot(both["trace_standard_error_sum"], both["trace_standard_error"])
    columns = {"epoch": both["epoch"], "sum": both["trace_sum"], "whole": both["trace"]}
    return pd.DataFrame({**columns, "error": error})
