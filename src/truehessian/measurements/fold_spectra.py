"""Spectra of many batches, in lockstep where they go in one graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from truehessian.measurements import kept, measuring
from truehessian.measurements.source import Source
from truehessian.operators import NetworkOperator, Operator
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
    missing = [place for place in range(len(states)) if place not in found]
    most = measuring.bases_that_fit(operators[0], how["steps"], source.basis_memory)
    for group in folds.groups(missing, most=most):
        own = group.numbers
        measured = measuring.measure_each(
            [operators[place] for place in own],
            _multiplier(group, full),
            numbers=[numbers[place] for place in own],
            states=[states[place] for place in own],
            basis_memory=source.basis_memory,
            **how,
        )
        for place, (spectrum, run) in zip(own, measured, strict=True):
            spectrum.metadata.update(group.making())
            if onto is not None:
                spectrum.metadata["squared_overlaps"] = overlaps.of_extremes(run, onto)
            kept.put(spectrum, states[place])
            found[place] = spectrum
        group.free()
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
    found: dict[int, Tridiagonalisation] = {}
    most = measuring.bases_that_fit(folds.operators[0], how["steps"], source.basis_memory)
    for group in folds.groups(most=most):
        own = group.numbers
        measured = measuring.measure_each(
            [folds.operators[number] for number in own],
            group.products_by_place,
            numbers=[numbers[number] for number in own],
            states=[states[number] for number in own],
            basis_memory=source.basis_memory,
            **how,
        )
        found |= {number: run for number, (_, run) in zip(own, measured, strict=True)}
        group.free()
    return [found[number] for number in range(len(folds.operators))]


def _multiplier(group: Group, full: NetworkOperator | None) -> Multiply:
    """Give products of a group's matrices, less those of the full one, by places in the group."""
    if full is None:
        return group.products_by_place

    def multiply(vectors: Mapping[int, Tensor]) -> list[Tensor]:
        products = group.products_by_place(vectors)
        whole = full.matmat(torch.stack(list(vectors.values())).to(full.device))
        return [own - other for own, other in zip(products, whole, strict=True)]

    return multiply
