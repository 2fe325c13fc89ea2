"""Sections on single products: all the data with fresh graphs, one batch with the graph kept."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from benchmarks import report
from benchmarks.peers import TOOLS
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.timing import Comparison, Product, compare
from benchmarks.tools import Tool
from benchmarks.workloads import Problem, artificial, gradient, reference_product

GRADIENT = "gradient"


def full_data(settings: Settings) -> Section:
    """One product over all the data, nothing kept from the product before."""
    scale = settings.scale
    tables = {
        network: _table(artificial(settings, arguments, scale.examples), False, settings)
        for network, arguments in scale.networks.items()
    }
    text = (
        f"{scale.examples:,} images of {report.shape(scale.image)}, {settings.num_classes} "
        f"classes, chunks of {scale.chunk}; {report.rounds(settings)}."
    )
    return Section("One full-data product", text, tables)


def mini_batch(settings: Settings) -> Section:
    """One more product on a batch that was multiplied with before."""
    scale = settings.scale
    tables = {
        network: _table(artificial(settings, arguments, scale.batch), True, settings)
        for network, arguments in scale.networks.items()
    }
    text = (
        f"One batch of {scale.batch} images of {report.shape(scale.image)}; "
        f"{report.rounds(settings)}. Tools that can keep the gradient's graph do so."
    )
    return Section("One mini-batch product, the graph kept", text, tables)


def measure(problem: Problem, tools: Sequence[Tool], keep: bool, settings: Settings) -> Comparison:
    """Time the gradient and each tool's product in turns, after a check against float64."""
    vector = problem.vector()
    expected = reference_product(problem, vector)

    def deviation(result: Tensor) -> float:
        if result is unit:
            return 0.0
        return ((result.double() - expected).norm() / expected.norm()).item()

    unit = gradient(problem)
    contestants: dict[str, Callable[[], Callable[[], Any]]] = {
        GRADIENT: lambda: lambda: (gradient(problem), unit)[1]
    }
    for tool in tools:
        contestants[tool.label] = _prepare(tool, problem, vector, keep)
    return compare(contestants, deviation, settings.tolerance, settings.rounds, settings.device)


def _prepare(
    tool: Tool, problem: Problem, vector: Tensor, keep: bool
) -> Callable[[], Callable[[], Tensor]]:
    def prepare() -> Callable[[], Tensor]:
        tool.require()
        product: Product = tool.product(problem, keep=keep)
        return lambda: product(vector)

    return prepare


def _table(problem: Problem, keep: bool, settings: Settings) -> Table:
    outcome = measure(problem, TOOLS, keep, settings)
    unit = outcome.timings[GRADIENT].median
    peers = [tool.label for tool in TOOLS[1:]]
    best = outcome.best_of(peers)
    rows = []
    for tool in TOOLS:
        timing = outcome.timings.get(tool.label)
        if timing is None:
            rows.append([tool.label, outcome.failures[tool.label]])
            continue
        rows.append(
            [
                tool.label,
                report.spread([s / unit for s in timing.seconds]),
                report.number(len(problem.inputs) / timing.median),
                report.ratio(best / timing.median),
                f"{outcome.errors[tool.label]:.0e}",
            ]
        )
        if keep:
            rows[-1].insert(1, "kept" if tool.keeps_graph else "fresh")
    columns = ["", "gradients", "samples/s", "speed against the best peer", "relative error"]
    if keep:
        columns.insert(1, "graph")
    note = f"P = {problem.num_params:,}; one gradient took {unit:.3g} s."
    return Table(columns, rows, note)
