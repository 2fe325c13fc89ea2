"""The section on groups of parameters: all layers in one pass, beside whole products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Settings
from benchmarks.timing import Timing, interleave
from truehessian.data import catalogue
from truehessian.measurements.blocks import group_spectra
from truehessian.measurements.one_call import spectrum
from truehessian.networks import registry
from truehessian.operators import GGN, DiagonalBlocks, Hessian, NetworkOperator
from truehessian.spectra import density

_KINDS: dict[str, type[NetworkOperator]] = {"Hessian": Hessian, "GGN": GGN}
_GRAPHS = {"kept": None, "fresh": 0}
_STEPS, _PROBES = 4, 8  # of the traces, which need two steps


def layers(settings: Settings) -> Section:
    """Time one Lanczos step of all layers, and see that their traces add up."""
    scale = settings.scale
    root = {"root": settings.root} if settings.root else {}
    data = catalogue.fetch("digits", train_examples=scale.layered_examples, **root).train
    model = registry.build(num_classes=10, input_shape=(1, 8, 8), seed=0, **scale.layered)
    model = model.to(settings.device, settings.dtype)
    examples = tuple(t.to(settings.device) for t in data.batch(slice(None), settings.dtype))
    how = {"chunk_size": scale.layered_chunk, "precision": settings.precision}
    rows = [
        [f"{name}, graphs {graphs}", *_row(kind(model, examples, memory=memory, **how), settings)]
        for name, kind in _KINDS.items()
        for graphs, memory in _GRAPHS.items()
    ]
    columns = ["", "in products with as many vectors", "in single products", "deviation"]
    blocks = DiagonalBlocks(Hessian(model, examples, **how), "layers")
    text = (
        f"One Lanczos step of all {len(blocks.groups)} layers of {_named(scale.layered)} on "
        f"{scale.layered_examples} digits, in units of one product of the whole matrix with as "
        f"many vectors, and with one; {report.rounds(settings)}. Deviation: of the blocks' "
        "products from the same parts of whole ones."
    )
    note = f"P = {blocks.num_params:,}. {_traces(model, examples, how)}"
    return Section("Layers in one pass", text, {"": Table(columns, rows, note)})


def _row(whole: NetworkOperator, settings: Settings) -> list[str]:
    blocks = DiagonalBlocks(whole, "layers")
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(1, whole.num_params, generator=generator).to(whole.device, whole.dtype)
    many = torch.zeros(len(blocks.groups), whole.num_params, device=whole.device, dtype=one.dtype)
    for row, block in zip(many.unsqueeze(1), blocks._blocks, strict=True):
        block.write(block.read(one), row)
    actions: dict[str, Callable[[], Any]] = {
        "blocks": lambda: blocks.matmat(one),
        "many": lambda: whole.matmat(many),
        "one": lambda: whole.matmat(one),
    }
    deviation = _deviation(blocks, actions["blocks"](), actions["many"]())
    whole.matmat(one)  # warm
    timings = interleave(actions, settings.rounds, settings.device)
    ratios = [report.spread(_ratios(timings["blocks"], timings[name])) for name in ("many", "one")]
    return [*ratios, f"{deviation:.0e}" if deviation else "0"]


def _ratios(one: Timing, other: Timing) -> list[float]:
    return [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]


def _deviation(blocks: DiagonalBlocks, product: Tensor, wholes: Tensor) -> float:
    """Compare the blocks' products with those parts of whole ones that belong to them."""
    expected = torch.zeros_like(product)
    for row, block in zip(wholes.unsqueeze(1), blocks._blocks, strict=True):
        block.write(block.read(row), expected)
    return ((product - expected).norm() / expected.norm()).item()


def _traces(model: Any, examples: Any, how: dict[str, Any]) -> str:
    """Say what the traces of the layers add up to, and that of the whole matrix."""
    settings = {"steps": _STEPS, "probes": _PROBES, "seed": 0, **how}
    own = [density.trace_by_moments(s) for s in group_spectra(model, examples, **settings).values()]
    whole = density.trace_by_moments(spectrum(model, examples, **settings))
    error = sum(each.standard_error**2 for each in own) ** 0.5
    return (
        f"Over {_PROBES} start vectors the traces of the layers' Hessians add up to "
        f"{sum(each.value for each in own):.4g} ± {error:.2g}, and the trace of the whole is "
        f"{whole.value:.4g} ± {whole.standard_error:.2g}."
    )


def _named(network: dict[str, Any]) -> str:
    return f"{network['name']} of depth {network['depth']}"
