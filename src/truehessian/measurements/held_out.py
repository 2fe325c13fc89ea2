"""Curvature on examples that neither trained the weights nor chose the direction.

For a direction u that is independent of the examples, uᵀ H u on them is an unbiased estimate of
uᵀ H_true u, with a standard error, and no assumption on the noise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.measurements.variance import DirectionalVariance, along_directions, group_sizes
from truehessian.operators import NetworkOperator, Operator
from truehessian.spectra import lanczos
from truehessian.spectra.lanczos import Tridiagonalisation


class Bracket(NamedTuple):
    """Two numbers between which, in expectation, an extreme eigenvalue of H_true lies.

    Attributes
    ----------
    low, high
        In ascending order. At the largest end `low` comes from quotients of one fold's Ritz
        vector with the other folds' matrices and `high` from the folds' own extremes; at the
        smallest end the other way round.
    folds
        How many.
    deviation
        Standard deviation of those quotients over single examples; NaN if unknown.
    """

    low: float
    high: float
    folds: int = 2
    deviation: float = math.nan


def brackets(
    operators: Sequence[Operator],
    runs: Sequence[Tridiagonalisation],
    *,
    memory: int | None = None,
) -> dict[str, Bracket]:
    """Bracket both extreme eigenvalues of the true Hessian from disjoint folds.

    E lambda_max(fold) >= lambda_max(true), because lambda_max is convex, and
    E u_Aᵀ H_B u_A <= lambda_max(true) for disjoint folds A and B; likewise at the other end. Of
    the mean over equal folds, a bracket holds the extremes always, not just in expectation.

    Parameters
    ----------
    operators
        The Hessians of at least two disjoint folds of examples that are independent of the
        weights, of equal sizes or nearly so. Those with chunks of random examples, more than one,
        show how much single examples differ.
    runs
        Their tridiagonalisations, in the same order; their bases may lie in different places.
    memory
        Of the quotients, as in `variance.along_directions`.

    Returns
    -------
    dict
        A bracket for each of `largest` and `smallest`.

    Raises
    ------
    ValueError
        There are fewer than two folds.
    """
    if len(operators) < 2:
        raise ValueError(f"a bracket needs at least two disjoint folds, got {len(operators)}")
    own = np.array([lanczos.ritz(run).values[[-1, 0]] for run in runs])  # (folds, 2)
    quotients, deviations = np.zeros((2, len(runs), 2))
    vectors = [
        lanczos.ritz_vectors(run, [run.num_steps - 1, 0]).to(operator.dtype)
        for operator, run in zip(operators, runs, strict=True)
    ]  # each where the basis of its fold has found room
    for fold, operator in enumerate(operators):
        others = [own.to(operator.device) for own in vectors[:fold] + vectors[fold + 1 :]]
        values, spread = _quotients(operator, torch.cat(others), memory)  # (2 (F - 1),)
        quotients[fold] = values.view(-1, 2).mean(0).cpu().numpy()
        deviations[fold] = spread.view(-1, 2).square().mean(0).sqrt().cpu().numpy()
    inner, outer = quotients.mean(0), own.mean(0)
    spreads = np.sqrt(np.mean(deviations**2, 0))
    facts = [(len(runs), float(spread)) for spread in spreads]
    return {
        "largest": Bracket(float(inner[0]), float(outer[0]), *facts[0]),
        "smallest": Bracket(float(outer[1]), float(inner[1]), *facts[1]),
    }


def _quotients(operator: Operator, directions: Tensor, memory: int | None) -> tuple[Tensor, Tensor]:
    """Quotients along unit vectors, and their standard deviations over single examples."""
    if isinstance(operator, NetworkOperator) and len(group_sizes(operator)) > 1:
        estimate = along_directions(operator, directions, memory=memory)
        return estimate.quotient, estimate.quotient_standard_error * operator.num_examples**0.5
    products = (operator @ directions.T).T
    values = (products * directions).sum(1)
    return values, torch.full_like(values, math.nan)


def table(
    names: Sequence[str],
    values: NDArray,
    estimate: DirectionalVariance,
    brackets: dict[str, Bracket],
) -> pd.DataFrame:
    """Put held-out quotients and brackets in a table.

    Parameters
    ----------
    names, values
        Directions `top-1`, .., `bottom-1`, .. and their Ritz values on the training split.
    estimate
        Quotients along them on held-out examples.
    brackets
        Of both ends; they stand at rank 1.

    Returns
    -------
    DataFrame
        Columns end, rank, empirical, held_out, held_out_standard_error, num_examples,
        bracket_low, bracket_high, bracket_folds, bracket_deviation.
    """
    rows = []
    for number, name in enumerate(names):
        side, _, rank = name.partition("-")
        end = "largest" if side == "top" else "smallest"
        bracket = brackets[end] if rank == "1" else Bracket(np.nan, np.nan, 0)
        rows.append(
            {
                "end": end,
                "rank": int(rank),
                "empirical": values[number],
                "held_out": estimate.quotient[number].item(),
                "held_out_standard_error": estimate.quotient_standard_error[number].item(),
                "num_examples": estimate.num_examples,
                "bracket_low": bracket.low,
                "bracket_high": bracket.high,
                "bracket_folds": bracket.folds,
                "bracket_deviation": bracket.deviation,
            }
        )
    return pd.DataFrame(rows)
