"""Sections on Lanczos runs over mini-batches of a trained network."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks import report
from benchmarks.peers import RUNNERS, TOOLS
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.timing import Comparison, Product, Stopwatch, compare
from benchmarks.tools import Ends, Tool, TrueHessian, kept_by_hand
from benchmarks.workloads import Problem, artificial, trained_folds

ACCURACY = 0.01  # of both ends, relative
Way = Literal["both at once", "one after the other"]


class Found(NamedTuple):
    """Both ends, and the number of products that they took."""

    smallest: float
    largest: float
    products: int


def fixed_length(settings: Settings) -> Section:
    """Time a run of fixed length, with everything that it takes."""
    problem = trained_folds(settings)[0].first(settings.scale.run_size)
    text = (
        f"{settings.scale.steps} steps on one batch of {settings.scale.run_size} images of "
        f"{settings.scale.dataset}, {_network(settings)} with P = {problem.num_params:,}; "
        f"{report.rounds(settings)}. Building the operator and the basis is included."
    )
    return Section("Lanczos of fixed length", text, {"": _runs(problem, settings)})


def small_networks(settings: Settings) -> Section:
    """Time the same on networks whose kernels take next to no time."""
    scale = settings.scale
    ours = replace(settings, scale=scale._replace(image=(1, 8, 8)), num_classes=10)
    problems = {
        name: artificial(ours, network, scale.run_size, chunk=scale.run_size)
        for name, network in scale.small.items()
    }
    tables = {
        f"{name}, P = {problem.num_params:,}": _runs(problem, settings)
        for name, problem in problems.items()
    }
    text = (
        f"{scale.steps} steps on one batch of {scale.run_size} random images of 8×8 pixels, "
        f"networks of random weights; {report.rounds(settings)}. Building the operator and the "
        "basis is included."
    )
    return Section("Lanczos on small networks", text, tables)


def _runs(problem: Problem, settings: Settings) -> Table:
    """Time runs of fixed length by all tools, of which each finds the same ends."""
    steps = min(settings.scale.steps, problem.num_params)
    truth = exact_ends(problem)
    last: dict[str, Ends] = {}
    for tool in RUNNERS:
        with contextlib.suppress(Exception):  # what fails here fails below, where it is reported
            tool.run(problem.first(8), 10)

    def prepare(tool: Tool) -> Callable[[], Callable[[], Ends]]:
        def ready() -> Callable[[], Ends]:
            tool.require()

            def run() -> Ends:
                last[tool.label] = tool.run(problem, steps)
                return last[tool.label]

            return run

        return ready

    outcome = compare(
        {tool.label: prepare(tool) for tool in RUNNERS},
        lambda ends: _deviation(ends, truth),
        ACCURACY,
        settings.rounds,
        settings.device,
        count_check=True,
    )
    best = outcome.best_of([tool.label for tool in RUNNERS[1:]])
    rows = [_run_row(tool, outcome, last, best) for tool in RUNNERS]
    return Table(["", "graph", "reorthogonalised", "seconds", "of which products", "speed"], rows)


def both_ends(settings: Settings) -> Section:
    """Find both extreme eigenvalues of several batches to one per cent."""
    problems = trained_folds(settings)
    truths = [exact_ends(problem) for problem in problems]
    way = _cheaper_way(problems[0])
    found: dict[str, list[Found]] = {}
    contestants: dict[str, Callable[[Problem], Found]] = {"truehessian, own Lanczos": _ours}
    for tool in TOOLS:
        contestants[f"{tool.label}, eigsh"] = _by_eigsh(tool, way)
    for find in contestants.values():
        with contextlib.suppress(Exception):  # as above
            find(problems[0].first(8))
    outcomes = [
        compare(
            {name: _note(find, problem, found, name) for name, find in contestants.items()},
            lambda ends, truth=truth: _deviation(ends, truth),
            ACCURACY,
            1,
            settings.device,
            count_check=True,
        )
        for problem, truth in zip(problems, truths, strict=True)
    ]
    rows = _fold_rows(list(contestants), outcomes, found)
    text = (
        f"{len(problems)} batches of {settings.scale.fold_size} images of "
        f"{settings.scale.dataset}, {_network(settings)} with P = {problems[0].num_params:,}, "
        f"each in a single chunk: largest and smallest eigenvalue to {ACCURACY:.0%}. "
        f"`eigsh` of SciPy looks for them {way}, which takes fewer products here. "
        "Seconds of all batches together (and the range over batches); the contestants have their "
        "turn batch by batch."
    )
    columns = ["", "products", "seconds", "speed against the best peer", "largest error"]
    return Section("Both ends of mini-batch Hessians", text, {"": Table(columns, rows)})


def exact_ends(problem: Problem) -> Ends:
    """Find both ends to four digits, by SciPy on a product that no tool has a hand in."""
    values = _eigsh(kept_by_hand(problem), problem, "both at once", 1e-4, space=80)
    return Ends(values[0], values[-1], 0.0)


def exact_largest(problem: Problem) -> float:
    """Find the largest eigenvalue to three digits, in the same way."""
    product = kept_by_hand(problem)
    return float(_eigsh(product, problem, "one after the other", 1e-3, ends=("LA",))[-1])


def _ours(problem: Problem) -> Found:
    ends, products = TrueHessian().converged(problem, 100, ACCURACY)
    return Found(ends.smallest, ends.largest, products)


def _by_eigsh(tool: Tool, way: Way) -> Callable[[Problem], Found]:
    def find(problem: Problem) -> Found:
        tool.require()
        watch = Stopwatch(tool.product(problem, keep=True), problem.device)
        values = _eigsh(watch, problem, way, ACCURACY)
        return Found(values[0], values[-1], watch.calls)

    return find


def _note(
    find: Callable[[Problem], Found], problem: Problem, found: dict[str, list[Found]], name: str
) -> Callable[[], Callable[[], Any]]:
    def run() -> Found:
        found.setdefault(name, []).append(find(problem))
        return found[name][-1]

    return lambda: run


def _cheaper_way(problem: Problem) -> Way:
    counts: dict[Way, int] = {}
    ways: tuple[Way, Way] = ("both at once", "one after the other")
    for way in ways:
        watch = Stopwatch(kept_by_hand(problem), problem.device)
        _eigsh(watch, problem, way, ACCURACY)
        counts[way] = watch.calls
    return min(ways, key=lambda way: counts[way])


def _eigsh(
    product: Product,
    problem: Problem,
    way: Way,
    tolerance: float,
    space: int | None = None,
    ends: Sequence[Literal["SA", "LA"]] = ("SA", "LA"),
) -> NDArray:
    """Give both ends, ascending, by ARPACK with so many basis vectors (20 by default)."""
    dtype = np.float64 if problem.dtype == torch.float64 else np.float32

    def multiply(array: NDArray) -> NDArray:
        vector = torch.from_numpy(array.reshape(-1).copy()).to(problem.device, problem.dtype)
        return product(vector).to(problem.dtype).cpu().numpy()

    matrix = LinearOperator((problem.num_params,) * 2, matvec=multiply, dtype=dtype)
    start = problem.vector().cpu().numpy()
    settings: dict[str, Any] = {
        "v0": start,
        "tol": tolerance,
        "ncv": space,
        "return_eigenvectors": False,
    }
    if way == "both at once":
        return np.sort(eigsh(matrix, k=2, which="BE", **settings))
    values = [eigsh(matrix, k=1, which=which, **settings) for which in ends]
    return np.concatenate(values)


def _deviation(ends: Any, truth: Ends) -> float:
    """Relative error of the worse end."""
    pairs = ((ends.smallest, truth.smallest), (ends.largest, truth.largest))
    return max(abs(own - exact) / abs(exact) for own, exact in pairs)


def _run_row(tool: Tool, outcome: Comparison, last: dict[str, Ends], best: float) -> list[str]:
    timing = outcome.timings.get(tool.label)
    if timing is None:
        return [tool.label, outcome.failures[tool.label]]
    share = last[tool.label].product_seconds / timing.seconds[-1]
    return [
        tool.label,
        "kept" if tool.keeps_graph else "fresh",
        tool.recurrence,
        report.spread(timing.seconds),
        f"{share:.0%}",
        report.ratio(best / timing.median),
    ]


def _fold_rows(
    names: list[str], outcomes: list[Comparison], found: dict[str, list[Found]]
) -> list[list[str]]:
    """Make one row per contestant: sums over the batches."""
    right = [name for name in names if all(name in outcome.timings for outcome in outcomes)]
    seconds = {
        name: [second for outcome in outcomes for second in outcome.timings[name].seconds]
        for name in right
    }
    peers = [sum(seconds[name]) for name in right if not name.startswith("truehessian")]
    best = min(peers, default=float("nan"))
    rows = []
    for name in names:
        if name not in right:
            failures = [o.failures[name] for o in outcomes if name in o.failures]
            rows.append([name, failures[0]])
            continue
        total, own = sum(seconds[name]), seconds[name]
        rows.append(
            [
                name,
                f"{sum(one.products for one in found[name]):,}",
                f"{report.number(total)} ({report.number(min(own))} to {report.number(max(own))})",
                report.ratio(best / total),
                f"{max(outcome.errors[name] for outcome in outcomes):.1e}",
            ]
        )
    return rows


def _network(settings: Settings) -> str:
    arguments = settings.scale.trained
    return f"{arguments['name']} of depth {arguments['depth']}, {settings.scale.epochs} epochs"
