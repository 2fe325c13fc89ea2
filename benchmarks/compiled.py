"""The section on compiled products, in units of the gradient that is compiled as well."""

import copy
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import report
from benchmarks.peers import COMPILED
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.timing import Comparison, compare
from benchmarks.workloads import Problem, artificial, gradient, reference_product

GRADIENT = "gradient, compiled"


class _Result(NamedTuple):
    found: Tensor
    expected: Tensor


def products(settings: Settings) -> Section:
    """Time compiled products on one chunk, beside those that are not."""
    scale = settings.scale
    tables = {
        network: _table(artificial(settings, arguments, scale.chunk), settings)
        for network, arguments in scale.compiled.items()
    }
    text = (
        f"{scale.chunk} images of {report.shape(scale.image)} in one chunk, nothing kept; "
        f"{report.rounds(settings)}. The unit is the gradient by a function that `torch.compile` "
        "has made. What a tool's release does not compile by itself, its product of a batch, is "
        "compiled for it. The first product waits for the compiler."
    )
    return Section("Compiled products", text, tables)


def compiled_gradient(problem: Problem) -> Callable[[], Tensor]:
    """Prepare the flat gradient of the mean loss by a compiled function."""
    model = copy.deepcopy(problem.model)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, (values, buffers), (inputs,))
        return F.cross_entropy(outputs, targets)

    function = torch.compile(torch.func.grad(loss), dynamic=False)

    def compute() -> Tensor:
        total = torch.zeros(problem.num_params, dtype=problem.dtype, device=problem.device)
        for inputs, targets in problem.batches:
            pieces = function(parameters, inputs, targets).values()
            share = len(inputs) / len(problem.inputs)
            total += torch.cat([piece.reshape(-1) for piece in pieces]) * share
        return total

    return compute


def _table(problem: Problem, settings: Settings) -> Table:
    vector = problem.vector()
    unit, product = gradient(problem), reference_product(problem, vector)
    firsts: dict[str, float] = {}

    def timed(name: str, make: Callable[[], Callable[[], Tensor]], expected: Tensor) -> Callable:
        def prepare() -> Callable[[], _Result]:
            action = make()
            begin = time.perf_counter()
            action()
            firsts[name] = time.perf_counter() - begin
            return lambda: _Result(action(), expected)

        return prepare

    contestants = {GRADIENT: timed(GRADIENT, lambda: compiled_gradient(problem), unit)}
    contestants["gradient"] = timed("gradient", lambda: lambda: gradient(problem), unit)
    for tool in COMPILED:

        def make(tool=tool):
            tool.require()
            multiply = tool.compiled(problem)
            return lambda: multiply(vector)

        contestants[f"{tool.label}, compiled"] = timed(f"{tool.label}, compiled", make, product)

        def plain(tool=tool):
            tool.require()
            multiply = tool.product(problem, keep=False)
            return lambda: multiply(vector)

        contestants[tool.label] = timed(tool.label, plain, product)
    outcome = compare(contestants, _deviation, settings.tolerance, settings.rounds, settings.device)
    rows = [_row(name, problem, outcome, firsts) for name in contestants]
    columns = ["", "compiled gradients", "samples/s", "first one, s", "relative error"]
    return Table(columns, rows, f"P = {problem.num_params:,}.")


def _deviation(result: _Result) -> float:
    return ((result.found - result.expected).norm() / result.expected.norm()).item()


def _row(name: str, problem: Problem, outcome: Comparison, firsts: dict[str, float]) -> list[str]:
    timing = outcome.timings.get(name)
    if timing is None:
        return [name, outcome.failures[name]]
    unit = outcome.timings.get(GRADIENT)
    ratios = [second / unit.median for second in timing.seconds] if unit else [float("nan")]
    return [
        name,
        report.spread(ratios),
        report.number(len(problem.inputs) / timing.median),
        report.number(firsts[name]),
        f"{outcome.errors[name]:.0e}",
    ]
