"""The noise within as many directions as a stated share of it asks for."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.measurements import variance
from truehessian.measurements.leak_sketch import LeakSketch
from truehessian.measurements.variance import DirectionalVariance
from truehessian.operators import NetworkOperator, penalty
from truehessian.spectra.spectrum import ENDS
from truehessian.theory.predictions.noise import SubspaceNoise

COLUMNS = ("end", "share", "held", "ritz_vectors", "leak_vectors", "passes")


class Wanted(NamedTuple):
    """What the subspace has to hold.

    Attributes
    ----------
    share
        Of the noise along the outermost Ritz vectors of either end, between 0 and 1.
    passes
        Products with all the data at most.
    ranks
        How many Ritz vectors of each end are meant, and measured in any case.
    """

    share: float
    passes: int
    ranks: int


class Reached(NamedTuple):
    """What became of it.

    Attributes
    ----------
    held
        Share of the noise along the Ritz vectors of the largest and of the smallest end that the
        subspace holds, by unbiased estimates; NaN where they have no noise.
    ritz_vectors, leak_vectors
        How many there are of each, for both ends together.
    """

    held: tuple[float, float]
    ritz_vectors: int
    leak_vectors: int

    def table(self, wanted: Wanted) -> pd.DataFrame:
        """Make a row for each end, with the columns of `COLUMNS`."""
        passes = self.ritz_vectors + self.leak_vectors
        found = (self.ritz_vectors, self.leak_vectors, passes)
        rows = [
            (end, wanted.share, held, *found) for end, held in zip(ENDS, self.held, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


def adaptive_subspace(
    operator: NetworkOperator,
    ends: Sequence[Tensor],
    values: NDArray,
    wanted: Wanted,
    *,
    memory: int | None = None,
) -> tuple[SubspaceNoise, Reached]:
    """Measure the noise within the fewest directions that hold a share of it.

    A first pass multiplies every group of examples with the outermost Ritz vectors of either end.
    Of what the groups' products deviate, the further Ritz vectors hold a part each, and principal
    directions of the rest another. Whichever hold the most are taken, the ends in turn, until both
    have the share, and a second pass measures the noise within them. Groups of several examples
    show the noise of their means: of that of single examples the same directions hold less.

    Parameters
    ----------
    operator
        As in `variance.along_directions`, of the loss alone.
    ends
        Ritz vectors of the largest and of the smallest end, as rows from the outermost inwards,
        shape (k, P) each, unit vectors.
    values
        Ritz values of the outermost `wanted.ranks` of each, the largest end first.
    wanted
        What is to be held.
    memory
        As in `variance.along_directions`.

    Returns
    -------
    noise, reached
        The first 2 ranks vectors of the noise are the Ritz vectors.

    Raises
    ------
    ValueError
        As in `variance.of_subspace`; or the passes are fewer than the outermost Ritz vectors.
    """
    penalty.check_absent(operator)
    ranks, room = wanted.ranks, wanted.passes - 2 * wanted.ranks
    if room < 0:
        raise ValueError(
            f"passes must be {2 * ranks} at least, for {ranks} Ritz vectors of each end, got "
            f"{wanted.passes}"
        )
    own = torch.cat([end[:ranks] for end in ends])
    inner = torch.cat([end[ranks:] for end in ends])
    sketch = LeakSketch([end[:ranks] for end in ends], math.ceil(room / 2), inner)
    first = variance.along_directions(operator, own, beside=inner, sketch=sketch, memory=memory)
    taken, leaking = _choice(sketch, wanted.share, room)
    sketch.keep(leaking)
    leaks = sketch.directions()
    further = torch.cat([inner[taken].to(leaks), leaks])
    noise = variance.of_subspace(operator, own, values, first, further, memory=memory)
    held = _held(noise, first, 0, ranks), _held(noise, first, 1, ranks)
    return noise, Reached(held, len(own) + len(taken), len(leaks))


def _choice(sketch: LeakSketch, share: float, room: int) -> tuple[list[int], list[int]]:
    """Choose inner Ritz vectors and rows of the sketch by their numbers, `room` in all.

    The end that has chosen less goes next, and so the ends share out the room where it is short.
    What it takes holds something of the other end's noise too: the rows are made orthogonal to what
    is taken, by their inner products alone.
    """
    own, gram, part = sketch.num_vectors, sketch.gram(), sketch.part_of_rows()
    inside, outside = sketch.inside.split(sketch.sizes), sketch.outside.split(sketch.sizes)
    inner = torch.stack([rows[:, own:].sum(0) for rows in inside])  # (2, inner Ritz vectors)
    totals = [float(rows.sum() + rest.sum()) for rows, rest in zip(inside, outside, strict=True)]
    held = torch.stack([rows[:, :own].sum() for rows in inside])
    ends, chosen = range(len(totals)), [0] * len(totals)
    least = 1e-12 * float(gram.diagonal().max()) if len(gram) else 0.0
    taken: list[int] = []
    leaking: list[int] = []
    for _ in range(room):
        needy = [end for end in ends if held[end] < share * totals[end]]
        if not needy:
            break
        end = min(needy, key=chosen.__getitem__)
        # What each row of this end would hold of either end's noise.
        squares = gram.square() / gram.diagonal().clamp(min=least)
        leaks = torch.stack([squares[part == each].sum(0) for each in ends])
        leaks[:, part != end] = 0
        gains = torch.cat([inner, leaks], dim=1)
        best = int(gains[end].argmax()) if gains.shape[1] else 0
        if not gains.shape[1] or not gains[end, best] > 0:
            held[end] = math.inf  # there is nothing left to take
            continue
        chosen[end] += 1
        held += gains[:, best]
        if best < inner.shape[1]:
            taken.append(best)
            inner[:, best] = 0
        else:
            leaking.append(best - inner.shape[1])
            column = gram[:, leaking[-1]].clone()
            gram -= torch.outer(column, column) / column[leaking[-1]]
            gram[leaking[-1]] = gram[:, leaking[-1]] = 0
    return sorted(taken), leaking


def _held(noise: SubspaceNoise, first: DirectionalVariance, end: int, ranks: int) -> float:
    """Share of the variance along an end's Ritz vectors that does not leak."""
    own = slice(end * ranks, (end + 1) * ranks)
    total = float(first.variance[own].sum())
    return 1 - float(noise.leak.diagonal()[own].sum()) / total if total > 0 else math.nan
