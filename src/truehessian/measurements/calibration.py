"""What subsamples show of the extremes of all the data, where estimators can be tried.

A random subsample of B examples plays the data set, all N training examples the distribution that
it comes from. Each estimator of `theory.estimates` sees the subsample alone.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian import streams
from truehessian.measurements import held_out, measuring, source as measurement, variance
from truehessian.measurements.costs.self_test import partitions, self_test
from truehessian.operators import Hessian, NetworkOperator, Operator
from truehessian.operators.batches import as_data
from truehessian.operators.folds import Folds
from truehessian.spectra import lanczos
from truehessian.spectra.spectrum import ENDS
from truehessian.theory.estimates.seen import Seen

COLUMNS = ("repetition", "end", "population", "truth", *Seen._fields, "rank")
_GROUPS = 16  # of a subsample, over which variances are taken
_NOISE = 0.3  # share of a random vector in a start vector


class Population(Protocol):
    """N examples, and the mean Hessian of any of them."""

    num_examples: int

    def operator(self, positions: NDArray, chunk_size: int | None = None) -> NetworkOperator:
        """Mean Hessian of the examples at `positions`, in chunks of so many."""


def trials(
    population: Population,
    *,
    parts: list[int],
    repetitions: int,
    folds: int,
    steps: int,
    tolerance: float | None,
    seed: int,
    ranks: int = 1,
) -> pd.DataFrame:
    """Measure what estimators need of subsamples, and what there is to guess.

    The subsamples of one size are the parts of random partitions, so that what one has too much
    of another has too little of: the mean error of an estimator over a partition is free of the
    fluctuations that are linear in the noise, and shows its bias.

    Parameters
    ----------
    population
        All examples.
    parts
        Into how many parts to cut them: B = N / parts.
    repetitions
        Subsamples of each size at least; there are as many as fill partitions.
    folds
        Of the cross-validation within a subsample.
    steps, tolerance
        Of Lanczos, at most; see `lanczos.tridiagonalise`. The truth is measured with a hundredth
        of this tolerance.
    seed
        Of the partitions and start vectors.
    ranks
        How many eigenvalues of each end, from the outermost inwards.

    Returns
    -------
    DataFrame
        Columns of `COLUMNS`: one row per subsample, end and rank, with the `population` N, the
        eigenvalue of this rank of all its examples as the `truth`, and what the subsample shows.
    """
    count = population.num_examples
    num_params = population.operator(np.arange(1)).num_params
    start = lanczos.probe_vector(num_params, seed, purpose="self-test")
    start = torch.nn.functional.normalize(start, dim=0)
    finer = None if tolerance is None else tolerance / 100
    cost = self_test(parts=parts, repetitions=repetitions, folds=folds, steps=steps, train=count)
    how = _Recurrence(steps, tolerance, ranks)
    finely = _Recurrence(cost.steps, finer, ranks)
    truth = _extremes([population.operator(np.arange(count))], [start], finely)[0]
    rows: list[tuple[object, ...]] = []
    for number in sorted(parts):
        subsamples = [
            # In random order, so that groups and folds of the subsample are random ones.
            streams.generator(seed, "cross-validation", number, repetition).permutation(positions)
            for repetition, positions in enumerate(_subsamples(count, number, repetitions, seed))
        ]
        # Start vectors know the answer, which spares products and changes no converged result.
        starts = [_start(truth, start)] * len(subsamples)
        operators = [population.operator(positions) for positions in subsamples]
        found = _extremes(operators, starts, how)
        for repetition, (positions, own) in enumerate(zip(subsamples, found, strict=True)):
            sample = _look_at(population, positions, own, start, folds, how)
            for place, seen in enumerate(sample):
                end, rank = ENDS[place // ranks], place % ranks + 1
                true = float(truth.values[place])
                rows.append((repetition, end, count, true, *seen, rank))
    return pd.DataFrame(rows, columns=list(COLUMNS))


class TrainingSplit:
    """The training examples of a data set as a `Population`, by the Hessian of the loss alone.

    A weight decay would move the truth and every estimate of it alike.
    """

    def __init__(self, source: measurement.Source) -> None:
        self._examples = source.dataset.train
        self.num_examples = len(self._examples)
        # All share a network, and what is looked at before the first product.
        self._whole = source.operator(Hessian, self._examples, weight_decay=0.0)
        self._whole.settle()

    def operator(self, positions: NDArray, chunk_size: int | None = None) -> NetworkOperator:
        """Mean Hessian of some examples."""
        size = chunk_size or self._whole.chunk_size
        return self._whole.with_data(as_data(self._examples.subset(positions)), size)


class _Recurrence(NamedTuple):
    """How Lanczos goes: steps at most, where it stops, and for how many eigenvalues of an end."""

    steps: int
    tolerance: float | None
    ranks: int


class _Extremes(NamedTuple):
    """Both ends of a spectrum, inwards, the largest first: values (2 R,) and vectors (2 R, P)."""

    values: NDArray
    vectors: Tensor


def _subsamples(count: int, parts: int, repetitions: int, seed: int) -> Iterator[NDArray]:
    """Yield the parts of as many partitions as hold so many of them."""
    for partition in range(partitions(repetitions, parts)):
        yield from measurement.disjoint_folds(count, parts, seed, partition)


def _extremes(
    operators: Sequence[Operator], starts: Sequence[Tensor], how: _Recurrence
) -> list[_Extremes]:
    """Find both ends of each matrix, of those that go in one graph in lockstep."""
    first = operators[0]
    steps = min(how.steps, first.num_params)
    found: dict[int, _Extremes] = {}
    for group in Folds.over(operators).groups(most=measuring.bases_that_fit(first, steps)):
        own = group.numbers
        runs = measuring.in_lockstep(
            [operators[number] for number in own],
            group.products_by_place,
            [starts[number] for number in own],
            steps,
            tolerance=how.tolerance,
            ranks=how.ranks,
        )
        for number, run in zip(own, runs, strict=True):
            columns = held_out.columns_of_ends(run, how.ranks)
            values = lanczos.ritz(run).values[columns]
            found[number] = _Extremes(values, lanczos.ritz_vectors(run, columns))
        group.free()
    return [found[number] for number in range(len(operators))]


def _look_at(
    population: Population,
    positions: NDArray,
    own: _Extremes,
    random: Tensor,
    folds: int,
    how: _Recurrence,
) -> list[Seen]:
    """Measure what estimators need of both ends, the largest first; positions in random order."""
    group = max(1, len(positions) // _GROUPS)
    directions = torch.cat([random[None].to(own.vectors), own.vectors])
    spread = variance.along_directions(population.operator(positions, group), directions)
    parts = np.array_split(positions, folds)
    rests = [population.operator(np.setdiff1d(positions, part)) for part in parts]
    fits = _extremes(rests, [_start(own, random)] * folds, how)
    crossed = [
        _crossed(population.operator(left_out, group), found.vectors)
        for left_out, found in zip(parts, fits, strict=True)
    ]
    quotients, squares, cubes = np.mean(crossed, 0)
    deviations = np.sqrt(squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = cubes / deviations**3
    fitted = np.mean([found.values for found in fits], 0)
    rest_size = len(positions) - round(len(positions) / folds)
    return [
        Seen(
            len(positions),
            rest_size,
            float(own.values[i]),
            float(spread.variance[0]),
            float(spread.variance[1 + i]),
            float(fitted[i]),
            float(quotients[i]),
            float(deviations[i]),
            folds * (math.ceil(len(positions) / folds / group) - 1),
            float(skewness[i]),
        )
        for i in range(len(own.values))
    ]


def _crossed(left_out: NetworkOperator, vectors: Tensor) -> NDArray:
    """Quotients on examples left out, with second and third moments over them, shape (3, 2 R)."""
    return held_out.moments(variance.along_directions(left_out, vectors))


def _start(near: _Extremes, random: Tensor) -> Tensor:
    return near.vectors.sum(0) + _NOISE * random.to(near.vectors)
