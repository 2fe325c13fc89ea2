"""Training steps in every mode of the configuration, on random images."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Arguments, Settings
from benchmarks.timing import compare
from truehessian import devices
from truehessian.data import batches
from truehessian.data.examples import Examples
from truehessian.networks import registry, training
from truehessian.networks.forward import Forward

_TOLERANCE = 0.05  # of the mean loss: bfloat16 has eight bits
_CROPS = batches.Augmentation(padding=4, flip=True)
MODES: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, channels last": {"channels_last": True},
    "tf32, channels last": {"precision": "tf32", "channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "bf16, channels last, compiled": {
        "precision": "bf16",
        "channels_last": True,
        "compiled": True,
    },
}


def steps(settings: Settings) -> Section:
    """Time whole steps: augmentation, both passes and the update."""
    scale = settings.scale
    tables = {network: _table(settings, arguments) for network, arguments in scale.networks.items()}
    text = (
        f"{scale.training_steps} steps of SGD with momentum on batches of {scale.training_batch} "
        f"random images of {report.shape(scale.image)}, with augmentation; "
        f"{report.rounds(settings)}. Compiling is not timed."
    )
    return Section("Training steps", text, tables)


def _table(settings: Settings, arguments: Arguments) -> Table:
    scale = settings.scale
    expected = _prepare(settings, arguments, {})()
    contestants = {
        name: lambda mode=mode: _prepare(settings, arguments, mode)
        for name, mode in MODES.items()
        if settings.device.type == "cuda" or mode.get("precision") != "tf32"
    }
    outcome = compare(
        contestants,
        lambda loss: abs(loss / expected - 1),
        _TOLERANCE,
        settings.rounds,
        settings.device,
    )
    rows = []
    for name in MODES:
        timing = outcome.timings.get(name)
        if timing is None:
            rows.append([name, outcome.failures.get(name, "not measured: needs a GPU")])
            continue
        per_step = [seconds / scale.training_steps for seconds in timing.seconds]
        rate = scale.training_batch * scale.training_steps / timing.median
        speed = outcome.timings["float32"].median / timing.median
        rows.append([name, report.number(rate), report.spread(per_step), report.ratio(speed)])
    columns = ["", "examples/s", "seconds of a step", "speed against float32"]
    return Table(columns, rows)


def _prepare(settings: Settings, arguments: Arguments, mode: dict[str, Any]) -> Callable[[], float]:
    """Make an epoch of steps that gives the mean loss; at rate zero, so that it stays the same."""
    scale, device = settings.scale, settings.device
    size, count = scale.training_batch, scale.training_batch * scale.training_steps
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *scale.image), generator=generator, dtype=torch.uint8)
    labels = torch.randint(settings.num_classes, (count,), generator=generator)
    channels = scale.image[0]
    examples = Examples(images, labels, (0.5,) * channels, (0.29,) * channels).to(device)
    model = registry.build(
        num_classes=settings.num_classes, input_shape=scale.image, seed=0, **arguments
    )
    how = {**mode, "compiled_size": size if mode.get("compiled") else None}
    how.pop("compiled", None)
    forward = Forward(model.to(device).train(), device, **how)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)

    def epoch() -> float:
        seeded = torch.Generator().manual_seed(1)
        feed = batches.batches(examples, size, seeded, _CROPS, forward.memory_format)
        with devices.deterministic_algorithms(tf32=forward.precision == "tf32"):
            losses = [training.step(forward, optimiser, *batch)[0] for batch in feed]
        return torch.stack(losses).mean().item()

    return epoch
