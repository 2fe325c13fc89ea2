"""Curvature at the outputs that examples would have without training on them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from truehessian import streams
from truehessian.data import trees
from truehessian.measurements import influence, variance
from truehessian.measurements.influence import LeftOut
from truehessian.measurements.source import Source
from truehessian.operators import NetworkOperator
from truehessian.operators.ggn import GGN
from truehessian.operators.hessian import Hessian
from truehessian.operators.precision import arithmetic
from truehessian.operators.shifted import ShiftedData, ShiftedLoss
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS

logger = logging.getLogger(__name__)

COLUMNS = (
    *("end", "training", "leave_one_out", "residual"),
    *("along_training", "along_leave_one_out", "along_standard_error"),
    *("loss", "leave_one_out_loss", "examples", "damping", "penalty", "worst_residual", "steps"),
)
_GROUP = 8  # examples whose quotients are taken together, for a standard error
_AT_ONCE = 32  # systems of equations at most


class Matrices(NamedTuple):
    """The Hessian of some examples as it is, and at outputs without each of them.

    Attributes
    ----------
    plain, shifted
        Of the same examples, in random order.
    whole
        The matrix whose extremes stand for the true ones: `shifted` where the examples are all
        that there are, otherwise that of all with the difference that these make.
    """

    plain: NetworkOperator
    shifted: NetworkOperator
    whole: Any


def draw(num_examples: int, count: int | None, seed: int) -> list[int]:
    """Draw the positions of examples to leave out, in random order; all by default."""
    order = streams.generator(seed, "left out").permutation(num_examples)
    places: list[int] = order[:count].tolist()
    return places


def solve(source: Source, places: Sequence[int], state: Path, **how: Any) -> LeftOut:
    """Leave examples of the training split out, as many at once as memory has room for.

    **how are damping, penalty, tolerance and most of `influence.leave_out`.
    """
    ggn = source.operator(GGN, source.dataset.train, weight_decay=0.0)
    room = source.basis_memory or 2**31
    at_once = max(1, min(_AT_ONCE, room // (8 * 6 * ggn.num_params)))
    return influence.leave_out(ggn, places, at_once=at_once, state=state, **how)


def matrices(source: Source, places: Sequence[int], offsets: Tensor) -> Matrices:
    """Make the Hessians of examples at shifted outputs, and of the same as they are."""
    train = source.dataset.train
    some = train.subset(torch.tensor(places))
    plain = source.operator(Hessian, some)
    loss = ShiftedLoss(source.products["loss"])
    shifted = source.operator(Hessian, ShiftedData(some, offsets), loss=loss)
    if len(places) == len(train):
        return Matrices(plain, shifted, shifted)
    full = source.operator(Hessian, train)
    # Around the matrix of all: the examples' own sampling error cancels.
    return Matrices(plain, shifted, full + shifted - plain)


def mean_loss(operator: NetworkOperator) -> float:
    """Mean of an operator's loss over its examples, without a penalty."""
    total, weights = 0.0, operator.weights
    chunks = operator.data.chunks(operator.chunk_size, operator.dtype)
    for weight, pair in zip(weights.chunks, chunks, strict=True):
        inputs, targets = (trees.moved(tree, operator.device) for tree in pair)
        if weight:
            with arithmetic(operator.precision), torch.no_grad():
                outputs = operator.loss.taken(operator.network(inputs))
                total += weight * float(operator.loss(outputs, targets)) / weights.total
    return total


def table(
    source: Source, found: Matrices, vectors: Tensor, values: Sequence[float], **how: Any
) -> pd.DataFrame:
    """Measure extremes and quotients of the Hessian at outputs without each example.

    Parameters
    ----------
    source
        Says where bases may lie.
    found
        The matrices.
    vectors, values
        The training Hessian's outermost Ritz vectors as rows, shape (2, P), those of the largest
        value first, and the values.
    **how
        Of the Lanczos run, as of `Source.measure`.

    Returns
    -------
    DataFrame
        A row for each end, with the columns of `COLUMNS` as far as they are known here. The
        standard error is that of the quotient over examples.
    """
    measured, _ = source.measure(found.whole, purpose="left out", **how)
    group = min(_GROUP, max(found.plain.num_examples // 2, 1))
    in_groups = [own.with_data(own.data, group) for own in (found.plain, found.shifted)]
    plain, shifted = (
        variance.along_directions(own, vectors, memory=source.basis_memory) for own in in_groups
    )
    difference = (shifted.quotient - plain.quotient).tolist()
    losses = [mean_loss(own) for own in (found.plain, found.shifted)]
    rows = []
    for number, end in enumerate(ENDS):
        value, residual = spectrum.extremal(measured, end)
        rows.append(
            {
                "end": end,
                "training": values[number],
                "leave_one_out": float(value),
                "residual": float(residual),
                "along_training": values[number],
                "along_leave_one_out": values[number] + difference[number],
                "along_standard_error": float(shifted.quotient_standard_error[number]),
                "loss": losses[0],
                "leave_one_out_loss": losses[1],
                "examples": found.plain.num_examples,
            }
        )
    return pd.DataFrame(rows)


def with_facts(frame: pd.DataFrame, left: LeftOut, damping: float, penalty: float) -> pd.DataFrame:
    """Say how the equations were made and solved."""
    facts = {"damping": damping, "penalty": penalty}
    facts |= {"worst_residual": float(left.residuals.max()), "steps": float(np.mean(left.steps))}
    return frame.assign(**facts)[list(COLUMNS)]
