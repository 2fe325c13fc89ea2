"""The section on many outputs: products of a language model, beside a gradient."""

import argparse
import gc
import json
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import report
from benchmarks.memory import highest, in_fresh_process, reset
from benchmarks.report import Section, Table
from benchmarks.settings import QUICK, Settings, prepare
from benchmarks.timing import interleave
from benchmarks.workloads import Problem, gradient
from truehessian.operators import GGN, EmpiricalFisher, Fisher, Hessian, NetworkOperator

_WIDTH = 64


def _unknown(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the loss in a way that no closed form is known of."""
    return F.cross_entropy(outputs, targets)


_PRODUCTS: dict[str, Callable[..., NetworkOperator]] = {
    "Hessian": Hessian,
    "GGN": GGN,
    "GGN, loss differentiated twice": lambda *data, **how: GGN(*data, **how, loss=_unknown),
    "Fisher, one draw": Fisher,
    "empirical Fisher": EmpiricalFisher,
}


def many(settings: Settings) -> Section:
    """Time products in gradients, and measure their memory in a fresh process each."""
    problem = _problem(settings)
    vector = problem.vector()
    made = {name: _operator(name, problem) for name in _PRODUCTS}
    for operator in made.values():
        operator @ vector  # with the check, and warm from there on
    actions: dict[str, Callable[[], object]] = {"gradient": lambda: gradient(problem)}
    actions |= {name: lambda own=own: own @ vector for name, own in made.items()}
    timings = interleave(actions, settings.rounds, settings.device)
    unit = timings["gradient"].seconds
    rows = []
    for name in _PRODUCTS:
        ratios = [own / one for own, one in zip(timings[name].seconds, unit, strict=True)]
        rows.append([name, report.spread(ratios), *_megabytes(name, settings)])
    columns = ["", "gradients", "MB of the first product", "MB of a later one"]
    scale = settings.scale
    size = scale.tokens * scale.vocabulary * problem.dtype.itemsize / 1e6
    note = (
        f"P = {problem.num_params:,}; one gradient took {report.number(timings['gradient'].median)}"
        f" s, and the outputs take {size:,.0f} MB."
    )
    text = (
        f"An embedding and a linear layer of width {_WIDTH}, {scale.vocabulary:,} outputs, "
        f"one chunk of {scale.tokens} tokens, fresh graphs; {report.rounds(settings)}. "
        "Memory is the peak of a fresh process during a product less what was in use before: of "
        "the first product, with the checks that come with it, and of a later one."
    )
    return Section("Many outputs", text, {"": Table(columns, rows, note)})


def _problem(settings: Settings) -> Problem:
    scale, generator = settings.scale, torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Embedding(scale.vocabulary, _WIDTH), nn.Linear(_WIDTH, scale.vocabulary)
        )
    tokens, targets = (
        torch.randint(scale.vocabulary, (scale.tokens,), generator=generator).to(settings.device)
        for _ in range(2)
    )
    model = model.to(settings.device, settings.dtype).eval()
    return Problem(model, tokens, targets, scale.tokens, settings.precision)


def _operator(name: str, problem: Problem) -> NetworkOperator:
    how: dict[str, Any] = {"chunk_size": problem.chunk, "precision": problem.precision}
    return _PRODUCTS[name](problem.model, (problem.inputs, problem.targets), **how, memory=0)


def _megabytes(name: str, settings: Settings) -> list[str]:
    """Give megabytes of the first and of a later product, or what went wrong."""
    work = {
        "product": name,
        "vocabulary": settings.scale.vocabulary,
        "tokens": settings.scale.tokens,
    }
    found = in_fresh_process("benchmarks.outputs", work, settings)
    return [found, ""] if isinstance(found, str) else [f"{value:,.0f}" for value in found]


def _measure(work: dict) -> list[float]:
    """Measure in this process; megabytes of the first product and of the second."""
    prepare(work["precision"], work["threads"])
    scale = QUICK._replace(vocabulary=work["vocabulary"], tokens=work["tokens"])
    settings = Settings(scale, torch.device(work["device"]), work["precision"])
    problem = _problem(settings)
    operator, vector = _operator(work["product"], problem), problem.vector()
    megabytes = []
    for _ in range(2):
        gc.collect()
        before = reset(settings.device)
        operator @ vector
        megabytes.append((highest(settings.device) - before) / 1e6)
    return megabytes


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=json.loads)
    print(*_measure(parser.parse_args().work))
