"""Sections on the variance, on the recurrence beside the products, and on growth."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.timing import interleave, seconds_of
from benchmarks.tools import TrueHessian
from benchmarks.workloads import Problem, artificial
from truehessian.measurements import variance
from truehessian.spectra import lanczos

Action = Callable[[], object]


def directional_variance(settings: Settings) -> Section:
    """Time the variance along one direction, in full products of the same examples."""
    scale = settings.scale
    size = scale.group_size
    rows = []
    for network, arguments in scale.networks.items():
        problem = artificial(settings, arguments, scale.variance_examples)
        direction = torch.nn.functional.normalize(problem.vector().double(), dim=0)
        product = TrueHessian().product(problem, keep=False)
        actions: dict[str, Action] = {"product": lambda f=product, v=direction: f(v)}
        actions["variance"] = _variance(problem, size, direction)
        actions["product"]()  # warms up
        timings = interleave(actions, settings.rounds, settings.device)
        unit = timings["product"].median
        ratios = [seconds / unit for seconds in timings["variance"].seconds]
        rows.append([network, report.spread(ratios), report.number(unit)])
    text = (
        f"V(u) from groups of {size} of {scale.variance_examples:,} images of "
        f"{report.shape(scale.image)}, in units of one product of the same images in chunks of "
        f"{scale.chunk}; {report.rounds(settings)}. No peer estimates it."
    )
    columns = ["", "products", "seconds of a product"]
    return Section("Variance along a direction", text, {"": Table(columns, rows)})


def recurrence(settings: Settings) -> Section:
    """Set the recurrence beside the products, with a full basis of a large network."""
    scale = settings.scale
    network, arguments = list(scale.networks.items())[-1]
    problem = artificial(settings, arguments, scale.examples)
    product = TrueHessian().product(problem, keep=False)
    vector = problem.vector()
    product(vector)
    one = seconds_of(lambda: product(vector), settings.device)
    steps = scale.recurrence_steps
    products = one * scale.run_examples / scale.examples * steps
    whole, free = (
        seconds_of(make(problem.num_params, steps, settings), settings.device)
        for make in (_free_run, _free_products)
    )
    seconds = whole - free
    rows = [
        [
            report.number(seconds),
            report.number(products),
            f"{seconds / products:.2%}",
        ]
    ]
    text = (
        f"{network} with P = {problem.num_params:,}, m = {steps} steps: the recurrence, measured "
        "once with a product that costs next to nothing and whose cost is taken off, beside the "
        f"{steps} products of {scale.run_examples:,} images. The latter are one product of "
        f"{scale.examples:,} images, measured once and scaled."
    )
    columns = ["seconds of the recurrence", "seconds of the products", "ratio"]
    return Section("Lanczos beside the products", text, {"": Table(columns, rows)})


def growth(settings: Settings) -> Section:
    """How the time grows with the number of examples, of parameters and of steps."""
    scale = settings.scale
    vectors, products = {}, {}
    for count in scale.growth_examples:
        problem = artificial(settings, scale.growing, count)
        products[count] = TrueHessian().product(problem, keep=False)
        vectors[count] = problem.vector()
    by_examples = _times(
        {n: lambda n=n: products[n](vectors[n]) for n in scale.growth_examples}, settings
    )
    by_params: dict[int, Action] = {}
    for width in scale.growth_widths:
        problem = artificial(settings, {**scale.growing, "width": width}, scale.growth_examples[0])
        product, vector = TrueHessian().product(problem, keep=False), problem.vector()
        by_params[problem.num_params] = lambda f=product, v=vector: f(v)
    by_steps = {
        steps: _free_run(scale.growth_params, steps, settings) for steps in scale.growth_steps
    }
    tables = {
        "Product against examples": _growth_table("N", by_examples),
        "Product against parameters": _growth_table("P", _times(by_params, settings)),
        "Recurrence against steps": _growth_table("m", _times(by_steps, settings)),
    }
    text = (
        f"{scale.growing['name']} of depth {scale.growing['depth']} on images of "
        f"{report.shape(scale.image)}, wider and wider for the growth with P, with "
        f"{scale.growth_examples[0]:,} images; the recurrence with P = {scale.growth_params:,} and "
        f"a product that costs next to nothing. {report.rounds(settings).capitalize()}; the slope "
        "is that of a straight line through the logarithms."
    )
    return Section("Growth", text, tables)


def _variance(problem: Problem, size: int, direction: torch.Tensor) -> Action:
    hessian = TrueHessian().operator(problem, keep=False, chunk=size)
    return lambda: variance.along_directions(hessian, direction[None])


def _free_run(num_params: int, steps: int, settings: Settings) -> Action:
    """Run the recurrence on a diagonal matrix, which costs next to nothing."""
    diagonal = torch.linspace(-1, 1, num_params, dtype=settings.dtype, device=settings.device)
    start = lanczos.probe_vector(num_params, seed=0).to(settings.device)
    return lambda: lanczos.tridiagonalise(
        lambda v: v * diagonal, start, steps, dtype=settings.dtype
    )


def _free_products(num_params: int, steps: int, settings: Settings) -> Action:
    """Do nothing but the products of `_free_run`."""
    diagonal = torch.linspace(-1, 1, num_params, dtype=settings.dtype, device=settings.device)

    def multiply() -> None:
        for _ in range(steps):
            diagonal * diagonal

    return multiply


def _times(actions: Mapping[int, Action], settings: Settings) -> dict[int, list[float]]:
    for action in actions.values():
        action()
    timings = interleave(
        {str(size): action for size, action in actions.items()}, settings.rounds, settings.device
    )
    return {int(size): timing.seconds for size, timing in timings.items()}


def _growth_table(name: str, times: Mapping[int, list[float]]) -> Table:
    medians = [float(np.median(seconds)) for seconds in times.values()]
    slope = np.polyfit(np.log(list(times)), np.log(medians), 1)[0]
    rows = [[f"{size:,}", report.spread(seconds)] for size, seconds in times.items()]
    return Table([name, "seconds"], rows, f"Slope {slope:.2f}.")
