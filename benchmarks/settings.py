"""What is measured: the device, the precision, and the sizes that suit a machine."""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Arguments = dict[str, Any]  # of `truehessian.networks.build`

PRERESNET110: Arguments = {"name": "preresnet", "depth": 110}
VGG16: Arguments = {"name": "vgg", "depth": 16}


class Scale(NamedTuple):
    """Sizes of the work of all sections.

    Attributes
    ----------
    image
        (channels, height, width) of the artificial images.
    networks
        Of the products, of the variance and of the memory.
    examples, chunk
        Of a full-data product, and examples per forward pass.
    batch
        Examples of a mini-batch whose graph is kept.
    trained, dataset, epochs
        The network with a real spectrum: its arguments, data, and epochs of training.
    folds, fold_size
        Mini-batches of the trained network whose ends are looked for.
    run_size, steps
        Examples and steps of a Lanczos run of fixed length.
    small
        Networks of such runs whose kernels take no time, on images of 8x8 pixels.
    folded, folded_steps
        Numbers and sizes of folds that are multiplied together, and steps of their recurrences.
    compiled
        Networks whose products are compiled, on one chunk.
    experiment
        Configuration of the run that is restored, from the project's folder; the default
        experiment if there is none.
    variance_examples, group_size
        Of the variance along a direction.
    recurrence_steps, run_examples
        Steps and examples of the run whose recurrence is set against its products.
    memory_chunk
        Examples of the product whose memory is measured.
    layered, layered_examples, layered_chunk
        The network whose layers are multiplied together, its examples, and those of a chunk.
    vocabulary, tokens
        Outputs of the language model, and how many tokens it is given.
    growing, growth_examples, growth_widths, growth_params, growth_steps
        The network whose product is timed as it grows, and the points.
    training_batch, training_steps
        Examples of a training step, and steps that are timed together.
    """

    image: tuple[int, int, int]
    networks: dict[str, Arguments]
    examples: int
    chunk: int
    batch: int
    trained: Arguments
    dataset: str
    epochs: int
    folds: int
    fold_size: int
    run_size: int
    steps: int
    small: dict[str, Arguments]
    folded: tuple[tuple[int, int], ...]
    folded_steps: int
    compiled: dict[str, Arguments]
    experiment: str | None
    variance_examples: int
    group_size: int
    recurrence_steps: int
    run_examples: int
    memory_chunk: int
    layered: Arguments
    layered_examples: int
    layered_chunk: int
    vocabulary: int
    tokens: int
    growing: Arguments
    growth_examples: tuple[int, ...]
    growth_widths: tuple[int, ...]
    growth_params: int
    growth_steps: tuple[int, ...]
    training_batch: int
    training_steps: int


CPU = Scale(
    image=(3, 32, 32),
    networks={"PreResNet110": PRERESNET110, "VGG16": VGG16},
    examples=128,
    chunk=64,
    batch=32,
    trained={"name": "preresnet", "depth": 8, "width": 8},
    dataset="digits",
    epochs=8,
    folds=5,
    fold_size=256,
    run_size=64,
    steps=100,
    small={
        "MLP, 32 hidden units": {"name": "mlp", "hidden": [32]},
        "PreResNet8, width 4": {"name": "preresnet", "depth": 8, "width": 4},
        "PreResNet8, width 16": {"name": "preresnet", "depth": 8, "width": 16},
    },
    folded=((20, 16), (20, 64), (5, 64)),
    folded_steps=30,
    compiled={"PreResNet20": {"name": "preresnet", "depth": 20}},
    experiment="tests/reduced.yaml",
    variance_examples=128,
    group_size=32,
    recurrence_steps=100,
    run_examples=5000,
    memory_chunk=128,
    layered={"name": "preresnet", "depth": 20},
    layered_examples=512,
    layered_chunk=128,
    vocabulary=50_000,
    tokens=256,
    growing={"name": "preresnet", "depth": 8},
    growth_examples=(32, 64, 128, 256),
    growth_widths=(16, 32, 64, 128),
    growth_params=250_000,
    growth_steps=(8, 16, 32, 64),
    training_batch=32,
    training_steps=2,
)

CUDA = CPU._replace(
    examples=50_000,
    chunk=250,
    batch=256,
    trained={"name": "preresnet", "depth": 110},
    dataset="cifar100",
    run_size=256,
    folded=((20, 64), (20, 256)),
    compiled={"PreResNet110": PRERESNET110, "VGG16": VGG16},
    variance_examples=5_000,
    group_size=32,
    growth_examples=(2_500, 5_000, 10_000, 20_000),
    growth_params=4_000_000,
    training_batch=128,
    training_steps=100,
)

QUICK = CPU._replace(
    image=(1, 8, 8),
    networks={"PreResNet8": {"name": "preresnet", "depth": 8, "width": 2}},
    examples=12,
    chunk=6,
    batch=6,
    trained={"name": "preresnet", "depth": 8, "width": 2},
    epochs=1,
    folds=2,
    fold_size=16,
    run_size=16,
    steps=40,
    small={"MLP": {"name": "mlp", "hidden": [4]}},
    folded=((2, 16),),
    folded_steps=20,
    compiled={"MLP": {"name": "mlp", "hidden": [4]}},
    experiment="tests/tiny.yaml",
    variance_examples=12,
    group_size=4,
    recurrence_steps=4,
    run_examples=24,
    memory_chunk=6,
    layered={"name": "preresnet", "depth": 8, "width": 2},
    layered_examples=12,
    layered_chunk=6,
    vocabulary=2**14,
    tokens=4,
    growing={"name": "preresnet", "depth": 8, "width": 2},
    growth_examples=(4, 8),
    growth_widths=(2, 4),
    growth_params=1_000,
    growth_steps=(4, 8),
    training_batch=6,
    training_steps=2,
)


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes
    ----------
    scale
        Sizes of the work.
    device
        Where everything is computed and all data lie.
    precision
        `float32`, `tf32` or `float64`, of every tool's products.
    rounds
        Repetitions; in each one, all tools have their turn.
    root
        Folder of the data sets.
    num_classes
        Outputs of the untrained networks.
    """

    scale: Scale
    device: torch.device
    precision: str = "float32"
    rounds: int = 3
    root: str = "data"
    num_classes: int = 100

    @property
    def dtype(self) -> torch.dtype:
        """Storage type of weights and vectors."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def tolerance(self) -> float:
        """Largest relative deviation from a float64 product that passes as the same result."""
        return {"float32": 2e-2, "tf32": 2e-1, "float64": 1e-9}[self.precision]


def prepare(precision: str, threads: int | None) -> None:
    """Set the number of threads, and let all tools compute with the same arithmetic."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
