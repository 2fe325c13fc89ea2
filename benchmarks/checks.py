"""What an operator's look at its first examples costs, beside one product over the data."""

import time

import torch

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Arguments, Settings
from benchmarks.workloads import artificial
from truehessian.operators import Hessian

_EXAMPLES = 500


def first_look(settings: Settings) -> Section:
    """Time a first product and the ones behind it, in a process that has seen both before."""
    small: Arguments = {"name": "preresnet", "depth": 8, "width": 8}
    networks = {**settings.scale.networks, "PreResNet8, width 8": small}
    count = min(_EXAMPLES, 8 * settings.scale.examples)
    rows = [[name, *_row(settings, arguments, count)] for name, arguments in networks.items()]
    columns = ["", "check, in products", "seconds of a product"]
    text = (
        f"One product over {count:,} images of {report.shape(settings.scale.image)} in chunks of "
        f"{settings.scale.chunk}, fresh graphs; {report.rounds(settings)}. The check is what the "
        "first product of an operator takes longer than its second."
    )
    return Section("The check before the first product", text, {"": Table(columns, rows)})


def _row(settings: Settings, network: Arguments, count: int) -> list[str]:
    problem = artificial(settings, network, count)
    vector = problem.vector()
    shares, products = [], []
    for number in range(settings.rounds + 1):
        operator = Hessian(
            problem.model,
            (problem.inputs, problem.targets),
            chunk_size=problem.chunk,
            precision=problem.precision,
            memory=0,
        )
        seconds = [_seconds(operator, vector, settings.device) for _ in range(2)]
        if number:  # the first operator makes the kernels
            shares.append((seconds[0] - seconds[1]) / seconds[1])
            products.append(seconds[1])
    return [report.spread(shares), report.spread(products)]


def _seconds(operator: Hessian, vector: torch.Tensor, device: torch.device) -> float:
    begin = time.perf_counter()
    operator @ vector
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
