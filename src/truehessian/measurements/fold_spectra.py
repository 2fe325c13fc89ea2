"""Spectra of many batches, in lockstep where they go in one graph."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from truehessian.measurements import kept, measuring
from truehessian.measurements.source import Source
from truehessian.operators import NetworkOperator, Operator, ranks
from truehessian.operators.folds import Folds, Group
from truehessian.operators.noise import Noise
from truehessian.spectra import overlaps
from truehessian.spectra.lanczos import Multiply, Tridiagonalisation
from truehessian.spectra.spectrum import Spectrum


def of_folds(
    source: Source,
    folds: Folds,
    *,
    states: Sequence[Path],
    numbers: Sequence[Sequence[int]],
    full: NetworkOperator | None = None,
    onto: Tensor | None = None,
    **how: Any,
) -> list[Spectrum]:
    """Measure the spectra of batches, or take those that a killed run has left.

    Parameters
    ----------
    source
        Says where bases may lie.
    folds
        The matrices A_f.
    states
        For each batch what `Source.spectrum` takes as its `state`; of the first batches only, where
        there are fewer.
    numbers
        Of the stream of each start vector.
    full
        The matrix A of all data, for spectra of the noise A_f - A; its products are made for all
        batches of a group together.
    onto
        As of `Source.spectrum`.
    **how
        As of `measuring.measure_each`: steps, seed, purpose, tolerance, ranks, metadata.

    Returns
    -------
    list of Spectrum
        One for each of `states`, with one probe.

    Raises
    ------
    ValueError
        What was left belongs to another matrix or start vector.
    """
    batches: list[Any] = list(folds.operators[: len(states)])
    operators: list[Operator] = batches if full is None else [Noise(own, full) for own in batches]
    found = {
        place: spectrum
        for place, (operator, state) in enumerate(zip(operators, states, strict=True))
        if (spectrum := kept.take(operator, state)) is not None
    }
    folds.free()  # of the products that what was left has been compared by
    missing = _of_this_process([place for place in range(len(states)) if place not in found])
    measured = _measured(source, folds, operators, missing, states, numbers, full=full, **how)
    for place, spectrum, run in measured:
        if onto is not None:
            spectrum.metadata["squared_overlaps"] = overlaps.of_extremes(run, onto)
        kept.put(spectrum, states[place])
        found[place] = spectrum
    if (together := ranks.current()) is not None:
        for own in together.gathered(found):
            found |= own
    return [found[place] for place in range(len(states))]


def runs_of(
    source: Source,
    folds: Folds,
    *,
    states: Sequence[Path],
    numbers: Sequence[Sequence[int]],
    **how: Any,
) -> list[Tridiagonalisation]:
    """Tridiagonalise the matrices of batches, for Ritz vectors; arguments as of `of_folds`."""
    places = range(len(folds.operators))
    measured = _measured(source, folds, folds.operators, places, states, numbers, **how)
    found = {place: run for place, _, run in measured}
    return [found[place] for place in places]


def _of_this_process(places: list[int]) -> list[int]:
    """Deal batches out among the processes that work together, see `operators.ranks`."""
    together = ranks.current()
    if together is None:
        return places
    # As the first process has them: another may see a file that has just been written.
    return together.gathered(places)[0][together.number :: together.count]


def _measured(
    source: Source,
    folds: Folds,
    operators: Sequence[Operator],
    places: Sequence[int],
    states: Sequence[Path],
    numbers: Sequence[Sequence[int]],
    *,
    full: NetworkOperator | None = None,
    **how: Any,
) -> Iterator[tuple[int, Spectrum, Tridiagonalisation]]:
    """Measure some of the operators, group by group, each of which frees its graphs at the end."""
    most = measuring.bases_that_fit(operators[0], how["steps"], source.basis_memory)
    for group in folds.groups(places, most=most):
        measured = measuring.measure_each(
            [operators[place] for place in group.numbers],
            _multiplier(group, full),
            numbers=[numbers[place] for place in group.numbers],
            states=[states[place] for place in group.numbers],
            basis_memory=source.basis_memory,
            **how,
        )
        making = group.making()
        group.free()
        for place, (spectrum, run) in zip(group.numbers, measured, strict=True):
            spectrum.metadata.update(making)
            yield place, spectrum, run


def _multiplier(group: Group, full: NetworkOperator | None) -> Multiply:
    """Give products of a group's matrices, less those of the full one, by places in the group."""
    if full is None:
        return group.products_by_place

    def multiply(vectors: Mapping[int, Tensor]) -> list[Tensor]:
        products = group.products_by_place(vectors)
        whole = full.matmat(torch.stack(list(vectors.values())).to(full.device))
        return [own - other for own, other in zip(products, whole, strict=True)]

    return multiply
