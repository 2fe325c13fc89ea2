"""Spectra of the diagonal blocks of a matrix, all in one measurement."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from truehessian.measurements.measuring import arrays_of, ends_of, facts_of, mark_of
from truehessian.measurements.one_call import as_operator
from truehessian.operators import NetworkOperator
from truehessian.operators.blocks import DiagonalBlocks, Groups
from truehessian.spectra import lanczos, stacks
from truehessian.spectra.lanczos import Tridiagonalisation
from truehessian.spectra.recurrence import Journal
from truehessian.spectra.spectrum import Spectrum


def group_spectra(
    matrix: NetworkOperator | nn.Module,
    data: object = None,
    /,
    *,
    groups: Groups = "layers",
    operator: str = "hessian",
    steps: int = 30,
    probes: int = 1,
    tolerance: float | None = None,
    seed: int = 0,
    **settings: Any,
) -> dict[str, Spectrum]:
    """Measure the spectra of a matrix's diagonal blocks by groups of parameters.

    All groups share the passes over the data.

    Parameters
    ----------
    matrix, data, operator, settings
        As of `one_call.spectrum`; the operator is a Hessian, GGN, Fisher or EmpiricalFisher.
    groups
        Patterns of names by the group's name, or `layers`; see `DiagonalBlocks`.
    steps
        Lanczos steps m per probe; P_g where a group has fewer parameters.
    probes, tolerance, seed
        As of `one_call.spectrum`, for each group.

    Returns
    -------
    dict
        A spectrum by the name of each group, in their order.

    Raises
    ------
    TypeError, ValueError
        As from `one_call.spectrum` and `DiagonalBlocks`.
    """
    whole: Any = as_operator(matrix, data, operator, settings)
    blocks = DiagonalBlocks(whole, groups)
    stack = measure(blocks, steps=steps, probes=probes, tolerance=tolerance, seed=seed)
    return stacks.by_group(stack)


def measure(
    operator: DiagonalBlocks,
    *,
    steps: int,
    probes: int = 1,
    seed: int,
    purpose: str = "groups",
    tolerance: float | None = None,
    ends: Collection[str] | None = None,
    ranks: int = 1,
    state: Path | None = None,
    basis_memory: int | None = None,
    scratch: Path | None = None,
    **metadata: Any,
) -> Spectrum:
    """Tridiagonalise all blocks from random probes of their own, in lockstep.

    The bases take probes x m x P numbers in all, as those of a single matrix of order P do.

    Parameters
    ----------
    operator
        The blocks.
    steps
        Lanczos steps m per probe, at most; P_g for a group of fewer parameters.
    probes, seed, purpose, tolerance, ends, ranks, state, basis_memory, scratch, metadata
        As of `source.measure`, for each block. The stream of a start vector has the numbers of the
        group and the probe.

    Returns
    -------
    Spectrum
        With a leading axis of groups; see `stacks.by_group`.
    """
    begin = time.perf_counter()
    ends = ends_of(operator) if ends is None else ends
    names = [name for name in operator.groups for _ in range(probes)]
    with operator.unwatched():
        runs = lanczos.tridiagonalise_each(
            lambda vectors: operator.products((names[i], v) for i, v in vectors.items()),
            _starts(operator.groups, probes, seed, purpose),
            [min(steps, operator.groups[name]) for name in names],
            dtype=operator.dtype,
            device=operator.device,
            tolerance=tolerance,
            ends=ends,
            ranks=ranks,
            journals=_journals(operator, probes, state),
            basis_memory=basis_memory,
            scratch=scratch,
        )
    asked = {"steps_at_most": steps, "probes": probes, "tolerance": tolerance, "ranks": ranks}
    facts = {**asked, "seed": seed, "purpose": purpose, "seconds": 0.0, **metadata}
    measured = dict(_spectra(operator, runs, facts))
    seconds = round(time.perf_counter() - begin, 3)
    return stacks.stack_groups(measured, operator.num_params, seconds)


def _spectra(
    operator: DiagonalBlocks, runs: Sequence[Tridiagonalisation], facts: Mapping[str, Any]
) -> Iterator[tuple[str, Spectrum]]:
    """Make a spectrum of the runs of each group, which follow each other."""
    common = operator.describe()
    del common["groups"]
    probes = len(runs) // len(operator.groups)
    for number, (name, size) in enumerate(operator.groups.items()):
        of_group = runs[number * probes : (number + 1) * probes]
        own = {"numbers": [number], "num_parameters": size}
        arrays = stacks.stacked([arrays_of(run) for run in of_group])
        yield name, Spectrum(**arrays, metadata={**common, **facts_of(of_group), **facts, **own})


def _starts(groups: Mapping[str, int], probes: int, seed: int, purpose: str) -> list[Tensor]:
    return [
        lanczos.probe_vector(size, seed, number, probe, purpose=purpose)
        for number, size in enumerate(groups.values())
        for probe in range(probes)
    ]


def _journals(operator: DiagonalBlocks, probes: int, state: Path | None) -> list[Journal] | None:
    if state is None:
        return None
    mark = mark_of(operator)
    return [
        Journal(state / f"group-{number}-probe-{probe}", matrix=mark)
        for number in range(len(operator.groups))
        for probe in range(probes)
    ]
