"""Curvature on examples that neither trained the weights nor chose the direction.

For a direction u that is independent of the examples, uᵀ H u on them is an unbiased estimate of
uᵀ H_true u, with a standard error, and no assumption on the noise.
"""

import math
from collections.abc import Mapping, Sequence
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
from truehessian.spectra.spectrum import ENDS


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


class Crossed(NamedTuple):
    """One eigenvalue as disjoint folds of examples see it.

    Attributes
    ----------
    fitted_value
        Mean of the folds' own eigenvalues of this rank; NaN where one has not converged.
    crossed
        Mean quotient of one fold's eigenvector on the examples of the others.
    deviation
        Standard deviation of those quotients over single examples; NaN if unknown.
    skewness
        Of the quotients over single examples; NaN if unknown.
    folds
        How many.
    groups
        Groups of examples that deviation and skewness are taken from, over all folds.
    """

    fitted_value: float
    crossed: float
    deviation: float
    skewness: float
    folds: int
    groups: int


CONVERGED = 0.1  # of a fold's Ritz value, up to which its residual may be for it to count


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
    operators, runs, memory
        As for `cross`.

    Returns
    -------
    dict
        A bracket for each of `largest` and `smallest`.

    Raises
    ------
    ValueError
        There are fewer than two folds.
    """
    return bracketed(cross(operators, runs, memory=memory))


def bracketed(crossed: Mapping[tuple[str, int], Crossed]) -> dict[str, Bracket]:
    """Make a bracket of what folds show of each extreme eigenvalue."""
    made = {}
    for end in ENDS:
        found = crossed[end, 1]
        inner, outer = found.crossed, found.fitted_value
        low, high = (inner, outer) if end == "largest" else (outer, inner)
        made[str(end)] = Bracket(low, high, found.folds, found.deviation)
    return made


def cross(
    operators: Sequence[Operator],
    runs: Sequence[Tridiagonalisation],
    *,
    ranks: int = 1,
    memory: int | None = None,
) -> dict[tuple[str, int], Crossed]:
    """Let every fold's outermost eigenvectors be judged by the examples of the other folds.

    Time: 2 `ranks` products with a fold for each of the others.

    Parameters
    ----------
    operators
        The Hessians of at least two disjoint folds of examples that are independent of the
        weights, of equal sizes or nearly so. Those with chunks of random examples, more than one,
        show how much single examples differ.
    runs
        Their tridiagonalisations, in the same order; their bases may lie in different places.
    ranks
        How many eigenvalues of each end, from the outermost inwards.
    memory
        Of the quotients, as in `variance.along_directions`.

    Returns
    -------
    dict
        By end and rank, from 1. Eigenvalues beyond the first of an end are NaN where a residual is
        above a tenth of the Ritz value.

    Raises
    ------
    ValueError
        There are fewer than two folds.
    """
    if len(operators) < 2:
        raise ValueError(f"a bracket needs at least two disjoint folds, got {len(operators)}")
    ranks = min(ranks, *((run.num_steps + 1) // 2 for run in runs))
    own = np.array([_outermost(run, ranks) for run in runs])  # (folds, 2 ranks)
    vectors = [
        lanczos.ritz_vectors(run, columns_of_ends(run, ranks)).to(operator.dtype)
        for operator, run in zip(operators, runs, strict=True)
    ]  # each where the basis of its fold has found room
    seen = []
    for fold, operator in enumerate(operators):
        others = [part.to(operator.device) for part in vectors[:fold] + vectors[fold + 1 :]]
        found = _quotients(operator, torch.cat(others), memory)
        seen.append([moment.reshape(-1, 2 * ranks).mean(0) for moment in found[:3]] + [found[3]])
    quotients, variances, thirds = (np.mean([one[i] for one in seen], 0) for i in range(3))
    groups = sum(int(one[3]) for one in seen)
    made = {}
    for place, value in enumerate(own.mean(0)):
        end, rank = ENDS[place // ranks], place % ranks + 1
        deviation = math.sqrt(max(variances[place], 0.0))
        skewness = thirds[place] / deviation**3 if deviation > 0 else math.nan
        facts = (deviation, float(skewness), len(runs), groups)
        made[str(end), rank] = Crossed(float(value), float(quotients[place]), *facts)
    return made


def columns_of_ends(run: Tridiagonalisation, ranks: int) -> list[int]:
    """Numbers of the outermost Ritz values, those of the largest end first, inwards."""
    last = run.num_steps - 1
    return [last - number for number in range(ranks)] + list(range(ranks))


def _outermost(run: Tridiagonalisation, ranks: int) -> NDArray:
    """Outermost Ritz values of both ends, shape (2 ranks,), inner ones NaN if unconverged."""
    ritz, columns = lanczos.ritz(run), columns_of_ends(run, ranks)
    values, residuals = ritz.values[columns], ritz.residuals[columns]
    vague = residuals > CONVERGED * np.abs(values)
    vague[[0, ranks]] = False
    return np.where(vague, np.nan, values)


def _quotients(
    operator: Operator, directions: Tensor, memory: int | None
) -> tuple[NDArray, NDArray, NDArray, int]:
    """Quotients along unit vectors, and their second and third moments over single examples."""
    if isinstance(operator, NetworkOperator) and len(group_sizes(operator)) > 1:
        estimate = along_directions(operator, directions, memory=memory)
        values, squares, cubes = moments(estimate)
        return values, squares, cubes, len(estimate.projected)
    products = (operator @ directions.T).T
    found = (products * directions).sum(1).cpu().numpy()
    return found, np.full_like(found, math.nan), np.full_like(found, math.nan), 0


def moments(estimate: DirectionalVariance) -> NDArray:
    """Quotients, and their second and third central moments over single examples, shape (3, K)."""
    variances = estimate.quotient_standard_error.square() * estimate.num_examples
    rows = (estimate.quotient, variances, third_moments(estimate))
    found: NDArray = torch.stack(rows).cpu().numpy()
    return found


def third_moments(estimate: DirectionalVariance) -> Tensor:
    """Third central moments of quotients over single examples, from groups of equal size, (K,).

    Of n groups of g examples, g² n² / ((n - 1) (n - 2)) times the mean cube is unbiased; NaN for
    fewer than three groups.
    """
    quotients = estimate.projected.diagonal(dim1=1, dim2=2)
    count = len(quotients)
    if count < 3:
        return torch.full_like(estimate.quotient, math.nan)
    cubes = ((quotients - quotients.mean(0)) ** 3).mean(0)
    return cubes * estimate.group_size**2 * count**2 / ((count - 1) * (count - 2))


def table(
    names: Sequence[str],
    values: NDArray,
    estimate: DirectionalVariance,
    crossed: Mapping[tuple[str, int], Crossed],
) -> pd.DataFrame:
    """Put held-out quotients and what folds show in a table.

    Parameters
    ----------
    names, values
        Directions `top-1`, .., `bottom-1`, .. and their Ritz values on the training split.
    estimate
        Quotients along them on held-out examples.
    crossed
        Of eigenvalues of both ends.

    Returns
    -------
    DataFrame
        Columns end, rank, empirical, held_out, held_out_standard_error, num_examples,
        bracket_low, bracket_high (of rank 1), bracket_folds, bracket_deviation, then fitted_value,
        crossed, skewness and groups as in `Crossed`.
    """
    rows = []
    brackets_of = bracketed(crossed)
    unknown = Crossed(math.nan, math.nan, math.nan, math.nan, 0, 0)
    for number, name in enumerate(names):
        side, _, rank = name.partition("-")
        end = "largest" if side == "top" else "smallest"
        bracket = brackets_of[end] if rank == "1" else Bracket(math.nan, math.nan)
        found = crossed.get((end, int(rank)), unknown)
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
                "bracket_folds": found.folds,
                "bracket_deviation": found.deviation,
                "fitted_value": found.fitted_value,
                "crossed": found.crossed,
                "skewness": found.skewness,
                "groups": found.groups,
            }
        )
    return pd.DataFrame(rows)
