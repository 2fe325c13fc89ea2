"""The section on batches of one size: in one graph, one by one, and by the fastest peer."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks import report
from benchmarks.peers import RUNNERS
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.spectra import ACCURACY, exact_largest
from benchmarks.timing import Comparison, compare, seconds_of
from benchmarks.tools import MEMORY, Tool, TrueHessian
from benchmarks.workloads import Problem, folds_of
from truehessian.measurements import measuring
from truehessian.operators import Hessian
from truehessian.operators.folds import Folds
from truehessian.spectra import lanczos

TOGETHER, APART = "truehessian, in one graph", "truehessian, one by one"


class _Largest(NamedTuple):
    """The largest Ritz value of each batch, and those that are known of them."""

    found: list[float]
    expected: list[float]


def in_one_graph(settings: Settings) -> Section:
    """Time runs of fixed length on batches of several numbers and sizes."""
    scale = settings.scale
    tables = {
        f"{count} batches of {size}": _table(folds_of(settings, count, size), settings)
        for count, size in scale.folded
    }
    text = (
        f"{scale.folded_steps} Lanczos steps on each batch of images of {scale.dataset}, "
        f"{scale.trained['name']} of depth {scale.trained['depth']}, everything included; "
        f"{report.rounds(settings)}. The peer is the one that is fastest on the first batch; it "
        "goes through the batches one by one. All find the largest eigenvalues to "
        f"{ACCURACY:.0%}."
    )
    return Section("Batches in one graph", text, tables)


def run_together(problems: list[Problem], steps: int) -> list[float]:
    """Do the recurrences of all batches in lockstep; give the largest Ritz values."""
    first = problems[0]
    how = {"chunk_size": first.chunk, "precision": first.precision, "memory": MEMORY}
    own = Hessian(first.model, (first.inputs, first.targets), **how)
    folds = Folds(own, [(problem.inputs, problem.targets) for problem in problems])
    largest = [0.0] * len(problems)
    for group in folds.groups():
        operators = [folds.operators[number] for number in group.numbers]
        starts = [problems[number].vector() for number in group.numbers]
        runs = measuring.in_lockstep(operators, group.products_by_place, starts, steps)
        for number, run in zip(group.numbers, runs, strict=True):
            largest[number] = lanczos.ritz(run).values[-1]
    return largest


def _table(problems: list[Problem], settings: Settings) -> Table:
    steps = settings.scale.folded_steps
    expected = [exact_largest(problem) for problem in problems]
    peer = _fastest_peer(problems[0], steps, settings.device)

    def by(tool: Tool) -> Callable[[], _Largest]:
        return lambda: _Largest([tool.run(own, steps).largest for own in problems], expected)

    contestants = {
        TOGETHER: lambda: lambda: _Largest(run_together(problems, steps), expected),
        APART: lambda: by(TrueHessian()),
        f"{peer.label}, one by one": lambda: by(peer),
    }
    outcome = compare(
        contestants, _deviation, ACCURACY, settings.rounds, settings.device, count_check=True
    )
    rows = [_row(name, list(contestants), outcome, steps * len(problems)) for name in contestants]
    columns = ["", "seconds", "ms of a product", "speed against one by one", "against the peer"]
    return Table(columns, rows, f"P = {problems[0].num_params:,}.")


def _fastest_peer(problem: Problem, steps: int, device: torch.device) -> Tool:
    """Find the peer that does the steps on one batch in the least time."""
    seconds: dict[str, float] = {}
    for tool in RUNNERS[1:]:
        with contextlib.suppress(Exception):  # as of a peer that is not installed
            tool.require()
            tool.run(problem.first(8), 10)
            seconds[tool.name] = seconds_of(lambda tool=tool: tool.run(problem, steps), device)
    return min((t for t in RUNNERS if t.name in seconds), key=lambda tool: seconds[tool.name])


def _deviation(result: _Largest) -> float:
    pairs = zip(result.found, result.expected, strict=True)
    return max(abs(found / expected - 1) for found, expected in pairs)


def _row(name: str, names: list[str], outcome: Comparison, products: int) -> list[str]:
    timing = outcome.timings.get(name)
    if timing is None:
        return [name, outcome.failures[name]]
    ratios = [
        report.ratio(outcome.timings[other].median / timing.median)
        if other in outcome.timings
        else "-"
        for other in names[1:]
    ]
    return [
        name,
        report.spread(timing.seconds),
        report.number(1e3 * timing.median / products),
        *ratios,
    ]
