"""The work: networks with realistic statistics, images on the device, a briefly trained network."""

import copy
import hashlib
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.settings import Arguments, Settings
from truehessian.data import catalogue, folds
from truehessian.data.dataset import Dataset
from truehessian.networks import registry, training


class Problem(NamedTuple):
    """A network in evaluation mode and its examples, on one device and in one dtype.

    The loss is the mean cross-entropy, the matrix its Hessian by all parameters.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    chunk: int
    precision: str

    @property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The examples in chunks; views, no copies."""
        pairs = zip(self.inputs.split(self.chunk), self.targets.split(self.chunk), strict=True)
        return list(pairs)

    @property
    def num_params(self) -> int:
        """The order P of the Hessian."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.inputs.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and vectors, and of inputs that are images."""
        return next(self.model.parameters()).dtype

    def first(self, count: int) -> "Problem":
        """Take some examples only, in a single chunk."""
        return self._replace(inputs=self.inputs[:count], targets=self.targets[:count], chunk=count)

    def vector(self, seed: int = 0) -> Tensor:
        """Draw a vector of P standard normal numbers, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.randn(self.num_params, generator=generator, dtype=torch.float64)
        return numbers.to(self.device, self.dtype)

    def in_float64(self, chunk: int) -> "Problem":
        """Convert to float64."""
        model = copy.deepcopy(self.model).double()
        return Problem(model, self.inputs.double(), self.targets, chunk, "float64")


def artificial(
    settings: Settings, network: Arguments, num_examples: int, chunk: int | None = None
) -> Problem:
    """Make a problem of random images, for sections where only the time matters.

    The running statistics of BatchNorm are those of the first images, as in a trained network:
    with the initial ones the activations of deep networks overflow.
    """
    generator = torch.Generator().manual_seed(0)
    image = settings.scale.image
    inputs = torch.randn(num_examples, *image, generator=generator)
    targets = torch.randint(settings.num_classes, (num_examples,), generator=generator)
    model = registry.build(
        num_classes=settings.num_classes, input_shape=image, seed=0, **network
    ).to(settings.device)
    inputs, targets = inputs.to(settings.device), targets.to(settings.device)
    _settle(model, inputs[:64])
    return Problem(
        model.to(settings.dtype),
        inputs.to(settings.dtype),
        targets,
        min(chunk or settings.scale.chunk, num_examples),
        settings.precision,
    )


def trained_folds(settings: Settings) -> list[Problem]:
    """Make one problem per mini-batch of the trained network, each in a single chunk."""
    return folds_of(settings, settings.scale.folds, settings.scale.fold_size)


def folds_of(settings: Settings, count: int, size: int) -> list[Problem]:
    """Make one problem per mini-batch of the trained network: so many of this size."""
    model, data = trained(settings)
    model = model.to(settings.dtype)
    examples = [
        data.train.subset(fold).batch(slice(None), settings.dtype)
        for fold in folds.draw_folds(len(data.train), size, count, seed=0)
    ]
    return [Problem(model, *pair, size, settings.precision) for pair in examples]


def trained(settings: Settings) -> tuple[nn.Module, Dataset]:
    """Take the trained network, in evaluation mode, and its data."""
    data = catalogue.fetch(settings.scale.dataset, root=settings.root, download=False)
    data = data.to(settings.device)
    return _trained(settings, data).to(settings.device).eval(), data


@torch.no_grad()
def _settle(model: nn.Module, inputs: Tensor) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain mean over all batches seen, here one
    model.train()
    with torch.random.fork_rng(devices=[]):
        model(inputs)
    model.eval()


def _trained(settings: Settings, data: Dataset) -> nn.Module:
    """Train for a few epochs, or take the weights from the run before."""
    scale = settings.scale
    what = {
        "network": scale.trained,
        "dataset": scale.dataset,
        "epochs": scale.epochs,
        "device": settings.device.type,
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / "truehessian-benchmarks" / f"{key}.safetensors"
    model = registry.build(
        num_classes=data.num_classes, input_shape=data.input_shape, seed=0, **scale.trained
    )
    if path.exists():
        model.load_state_dict(load_file(path))
        return model
    training.train(
        model,
        data,
        training.Recipe(
            epochs=scale.epochs,
            batch_size=128,
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            augment=False,
            seed=0,
        ),
        checkpoint_epochs=[],
        on_checkpoint=lambda epoch, network: None,
        device=settings.device,
    )
    path.parent.mkdir(exist_ok=True)
    save_file(model.state_dict(), path)
    return model


def gradient(problem: Problem) -> Tensor:
    """Compute the flat gradient of the mean loss: the unit in which products are timed."""
    parameters = list(problem.model.parameters())
    total = torch.zeros(problem.num_params, dtype=problem.dtype, device=problem.device)
    for inputs, targets in problem.batches:
        loss = F.cross_entropy(problem.model(inputs), targets)
        pieces = torch.autograd.grad(loss, parameters)
        total += torch.cat([g.reshape(-1) for g in pieces]) * (len(inputs) / len(problem.inputs))
    return total


def reference_product(problem: Problem, vector: Tensor) -> Tensor:
    """Multiply with the Hessian in float64, differentiating twice and nothing else."""
    exact = problem.in_float64(max(1, problem.chunk // 4))  # as much memory as in float32
    parameters = list(exact.model.parameters())
    vector = vector.double()
    total = torch.zeros_like(vector)
    for inputs, targets in exact.batches:
        loss = F.cross_entropy(exact.model(inputs), targets)
        pieces = torch.autograd.grad(loss, parameters, create_graph=True)
        slope = torch.cat([g.reshape(-1) for g in pieces]) @ vector
        pieces = torch.autograd.grad(slope, parameters)
        total += torch.cat([h.reshape(-1) for h in pieces]) * (len(inputs) / len(exact.inputs))
    return total
