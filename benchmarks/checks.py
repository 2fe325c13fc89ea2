"""What an operator's look at its first examples costs, beside one product over the data."""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Arguments, Settings
from benchmarks.workloads import artificial
from truehessian.operators import Hessian, twin

_EXAMPLES = 500


def first_look(settings: Settings) -> Section:
    """Time a first product and the ones behind it, in a process that has seen both before."""
    small: Arguments = {"name": "preresnet", "depth": 8, "width": 8}
    networks = {**settings.scale.networks, "PreResNet8, width 8": small}
    count = min(_EXAMPLES, 8 * settings.scale.examples)
    rows = [[name, *_row(settings, arguments, count)] for name, arguments in networks.items()]
    columns = ["", "check, in products", "seconds of a product"]
    text = (
        f"What an operator does with its first two examples, beside one product over {count:,} "
        f"images of {report.shape(settings.scale.image)} in chunks of {settings.scale.chunk}, "
        f"fresh graphs; {report.rounds(settings)}, in a process that has seen both before."
    )
    return Section("The check before the first product", text, {"": Table(columns, rows)})


def _row(settings: Settings, network: Arguments, count: int) -> list[str]:
    problem = artificial(settings, network, count)
    vector = problem.vector()
    operator = Hessian(
        problem.model,
        (problem.inputs, problem.targets),
        chunk_size=problem.chunk,
        precision=problem.precision,
        memory=0,
    )
    pair = problem.inputs[:2], problem.targets[:2]
    twin.examine(operator, *pair)  # makes the kernels
    operator @ vector
    shares, products = [], []
    for _ in range(settings.rounds):
        products.append(_seconds(lambda: operator @ vector, settings))
        shares.append(_seconds(lambda: twin.examine(operator, *pair), settings) / products[-1])
    return [report.spread(shares), report.spread(products)]


def _seconds(work: Callable[[], Any], settings: Settings) -> float:
    begin = time.perf_counter()
    work()
    if settings.device.type == "cuda":
        torch.cuda.synchronize(settings.device)
    return time.perf_counter() - begin
