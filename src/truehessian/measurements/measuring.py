"""Lanczos on operators: spectra with their metadata, and the runs that they come from."""

import contextlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.devices import available_bytes
from truehessian.measurements import journals
from truehessian.operators import Operator
from truehessian.operators.mean import MAKING
from truehessian.spectra import bases, lanczos, stacks
from truehessian.spectra.lanczos import Multiply, Tridiagonalisation
from truehessian.spectra.recurrence import Journal
from truehessian.spectra.spectrum import ENDS, End, Spectrum


def measure(
    operator: Operator,
    *,
    steps: int,
    probes: int = 1,
    seed: int,
    purpose: str = "spectrum",
    numbers: Sequence[int] = (),
    tolerance: float | None = None,
    ends: Collection[str] | None = None,
    ranks: int = 1,
    state: Path | None = None,
    basis_memory: int | None = None,
    scratch: Path | None = None,
    **metadata: Any,
) -> tuple[Spectrum, list[Tridiagonalisation]]:
    """Tridiagonalise an operator from random probes, all in lockstep.

    The bases of all probes are kept, probes x m x P numbers in the precision of the operator, and
    beside them about five float64 vectors of length P per probe.

    Parameters
    ----------
    operator
        Any operator of order P.
    steps
        Lanczos steps m per probe, at most.
    probes
        Number of random start vectors.
    tolerance, ends, ranks
        Stop earlier when so many outermost Ritz values of these ends have converged; see
        `lanczos.tridiagonalise_block`. Both ends by default, and of a positive semidefinite matrix
        the largest: of its smallest, zero, there is no relative error.
    state
        Folder for what a killed run needs to go on, for this measurement alone.
    basis_memory, scratch
        Bytes that the bases may take on the device, and the folder for those that fit into no
        memory; see `lanczos.tridiagonalise_block`.
    seed, purpose, numbers
        Of the start vectors, see `streams.generator`: measurements of another purpose or with
        other numbers, such as those of a fold, start from other vectors.
    **metadata
        Kept with the spectrum, beside what the operator says of itself.

    Returns
    -------
    spectrum, runs
        Arrays of shape (probes, m) with the number m of steps that the longest recurrence has
        done, and the runs with their bases, for Ritz vectors.
    """
    begin = time.perf_counter()
    ends = ends_of(operator) if ends is None else ends
    folders = [] if state is None else [state / f"probe-{probe}" for probe in range(probes)]
    with unwatched(operator):
        runs = lanczos.tridiagonalise_block(
            operator.matmat,
            [probe_of(operator, probe, seed, purpose, numbers) for probe in range(probes)],
            steps,
            dtype=operator.dtype,
            device=operator.device,
            tolerance=tolerance,
            ends=ends,
            ranks=ranks,
            journals=journals.of_operator(operator, folders, mark_of(operator)) or None,
            basis_memory=basis_memory,
            scratch=scratch,
        )
    stream = {"seed": seed, "purpose": purpose, "numbers": list(numbers)}
    asked = {"steps_at_most": steps, "probes": probes, "tolerance": tolerance, "ranks": ranks}
    seconds = {"seconds": round(time.perf_counter() - begin, 3)}
    facts = operator.describe() | facts_of(runs) | stream | asked | seconds | metadata
    return Spectrum(**stacks.stacked([arrays_of(run) for run in runs]), metadata=facts), runs


def measure_each(
    operators: Sequence[Operator],
    multiply: Multiply,
    *,
    steps: int,
    seed: int,
    purpose: str,
    numbers: Sequence[Sequence[int]],
    tolerance: float | None = None,
    ranks: int = 1,
    states: Sequence[Path] | None = None,
    basis_memory: int | None = None,
    **metadata: Any,
) -> list[tuple[Spectrum, Tridiagonalisation]]:
    """Tridiagonalise several operators of one order in lockstep, each from a probe of its own.

    Parameters
    ----------
    operators
        What they are; of one kind, precision and device.
    multiply
        Vectors by the places of their operators -> products, see `lanczos.tridiagonalise_each`.
    steps, seed, purpose, tolerance, ranks, basis_memory, metadata
        As of `measure`, for each operator.
    numbers
        Of the stream of each start vector.
    states
        A folder for each, for what a killed run needs to go on.

    Returns
    -------
    list of (Spectrum, Tridiagonalisation)
        As one probe of `measure` gives them. The seconds of all are shared among them.
    """
    begin = time.perf_counter()
    streams = zip(operators, numbers, strict=True)
    starts = [probe_of(operator, 0, seed, purpose, own) for operator, own in streams]
    how = {"tolerance": tolerance, "ranks": ranks, "basis_memory": basis_memory}
    runs = in_lockstep(operators, multiply, starts, steps, states, **how)
    asked: dict[str, Any] = {"steps_at_most": steps, "probes": 1, "tolerance": tolerance}
    asked |= {"ranks": ranks, "seed": seed, "purpose": purpose}
    asked["seconds"] = round((time.perf_counter() - begin) / len(operators), 3)
    measured = []
    for operator, run, own in zip(operators, runs, numbers, strict=True):
        facts = operator.describe() | facts_of([run]) | {"numbers": list(own)} | asked | metadata
        measured.append((Spectrum(**stacks.stacked([arrays_of(run)]), metadata=facts), run))
    return measured


def in_lockstep(
    operators: Sequence[Operator],
    multiply: Multiply,
    starts: Sequence[Tensor],
    steps: int,
    states: Sequence[Path] | None = None,
    **how: Any,
) -> list[Tridiagonalisation]:
    """Run the recurrences of several operators together; see `measure_each`.

    **how are tolerance, ranks and basis_memory of `lanczos.tridiagonalise_each`.
    """
    first = operators[0]
    try:
        with contextlib.ExitStack() as stack:
            for operator in operators:
                stack.enter_context(unwatched(operator))
            return lanczos.tridiagonalise_each(
                multiply,
                starts,
                [steps] * len(operators),
                dtype=first.dtype,
                device=first.device,
                ends=ends_of(first),
                journals=_journals(operators, states),
                **how,
            )
    except FloatingPointError:
        # Of several in one graph none knows the product: by itself it says what is not finite.
        for operator, start in zip(operators, starts, strict=True):
            operator.matvec(start)
        raise


def unwatched(operator: Operator) -> contextlib.AbstractContextManager[None]:
    """Leave it to Lanczos to see what is not finite.

    An operator of the user's own need not be an `Operator`.
    """
    found: contextlib.AbstractContextManager[None] = getattr(
        operator, "unwatched", contextlib.nullcontext
    )()
    return found


def bases_that_fit(operator: Operator, steps: int, memory: int | None = None) -> int:
    """How many bases find room on the device, one at least; half of what is free by default.

    More of them would lie on the host or the disk, where recurrences run slowly.
    """
    room = available_bytes(operator.device) // 2 if memory is None else memory
    return max(1, room // (steps * operator.num_params * operator.dtype.itemsize))


def _journals(operators: Sequence[Operator], states: Sequence[Path] | None) -> list[Journal] | None:
    """Make a journal for each operator, in the folder that the one probe of `measure` has."""
    if states is None:
        return None
    return [
        journal
        for operator, state in zip(operators, states, strict=True)
        for journal in journals.of_operator(operator, [state / "probe-0"], mark_of(operator))
    ]


def facts_of(runs: Sequence[Tridiagonalisation]) -> dict[str, Any]:
    """Say how the recurrences went, and with what."""
    return {
        "steps": max(run.num_steps for run in runs),
        "steps_done": [run.num_steps for run in runs],
        "product_error": [run.product_error for run in runs],
        "orthogonality": max(lanczos.orthogonality(run) for run in runs),
        "basis_device": bases.place_of(runs[0].basis),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


def ends_of(operator: Operator) -> tuple[End, ...]:
    """Name the ends that have a relative error: of a semidefinite matrix the largest alone."""
    return ENDS[:1] if operator.semidefinite else ENDS


def probe_of(
    operator: Operator, probe: int, seed: int, purpose: str, numbers: Sequence[int]
) -> Tensor:
    """Draw the start vector of a probe."""
    return lanczos.probe_vector(operator.num_params, seed, *numbers, probe, purpose=purpose)


def lasting(facts: Any) -> Any:
    """Leave out of what an operator says how its products are made at the moment."""
    if isinstance(facts, Mapping):
        return {key: lasting(value) for key, value in facts.items() if key not in MAKING}
    return [*map(lasting, facts)] if isinstance(facts, (list, tuple)) else facts


def mark_of(operator: Operator) -> str:
    """Write down what an operator is, to tell it from others."""
    return json.dumps(lasting(operator.describe()), sort_keys=True)


def arrays_of(run: Tridiagonalisation) -> tuple[NDArray, ...]:
    """Name what `ARRAYS` are of one run."""
    result = lanczos.ritz(run)
    return result.values, result.weights, result.residuals, run.diagonal, run.off_diagonal
