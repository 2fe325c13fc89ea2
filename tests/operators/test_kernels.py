"""Products do not depend on the processor's kernels, nor on how threads share the work."""

import subprocess
import sys

import pytest
import torch
from cases import examples, network
from dense import dense_hessian, some_vectors
from torch import nn

from truehessian.networks import registry
from truehessian.operators import Hessian

# The kernels of a processor with AVX2 and without AVX-512, where oneDNN has a fault.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

NARROW = """
import torch
from torch import nn
from truehessian.networks import registry as models
from truehessian.operators import Hessian

torch.set_num_threads({threads})
generator = torch.Generator().manual_seed(0)
data = torch.randn(24, 1, 8, 8, generator=generator), torch.arange(24) % 10
build = dict(num_classes=10, input_shape=(1, 8, 8), depth=8, seed=0)
networks = [models.build("preresnet", width=width, **build) for width in (2, 3, 5, 7, 8)]
last = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 9, 1, stride=2), nn.Flatten())
networks.append(last.append(nn.Linear(81, 10)).to(memory_format=torch.channels_last))
for model in networks:
    how = dict(data=data, chunk_size=12)
    exact, single = (Hessian(model, precision=p, **how) for p in ("float64", "float32"))
    for _ in range(3):
        vector = torch.randn(exact.num_params, generator=generator, dtype=torch.float64)
        right = exact @ vector
        assert (single @ vector - right).norm() < 1e-3 * right.norm()
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_narrow_networks_are_right_on_older_processors(threads, monkeypatch):
    """In a process of its own, which the fault would kill."""
    for name, value in AVX2.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", NARROW.format(threads=threads)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-500:]


class Shortcuts(nn.Module):
    """Strided 1x1 convolutions: of a layer, of a weight that the code takes for one, padded."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.short = nn.Conv2d(4, 4, 1, stride=2)
        self.flat = nn.Parameter(0.5 * torch.randn(4, 4))
        self.wide = nn.Conv2d(4, 4, 1, stride=(1, 3), padding=(0, 1), groups=2)
        self.head = nn.Linear(48, 3)

    def forward(self, inputs):
        hidden = torch.tanh(self.stem(inputs))
        # As channels last as it gets, though nobody has asked for it.
        hidden = hidden.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        flat = nn.functional.conv2d(hidden, self.flat[:, :, None, None], stride=2)
        parts = [self.short(hidden), flat, self.wide(hidden)[:, :, :2, :1]]
        parts.append(self.wide(hidden)[:, :, 2:, 1:2])
        rows = torch.cat([torch.tanh(part).flatten(1) for part in parts], 1)
        return self.head(rows)


def test_strided_shortcuts_are_those_of_plain_differentiation():
    model, data = network(Shortcuts), examples(6)
    exact = dense_hessian(model, *data)
    for precision, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        operator = Hessian(model, data, precision=precision, chunk_size=4)
        vectors = some_vectors(operator.num_params)
        right = exact @ vectors
        assert (operator @ vectors - right).norm() < tolerance * right.norm()
        assert operator.describe()["differentiation"] == "by rules"
    assert operator.describe()["channels_last"]


@pytest.mark.parametrize("width", [2, 4, 8])
def test_products_of_narrow_residual_networks_are_plain_ones(width):
    model = registry.build(
        "preresnet", num_classes=3, input_shape=(1, 4, 4), depth=8, width=width, seed=0
    )
    data = examples(4)
    for precision, tolerance in (("float64", 1e-10), ("float32", 1e-4)):
        operator = Hessian(model, data, precision=precision, chunk_size=3)
        generator = torch.Generator().manual_seed(0)
        vector = torch.randn(operator.num_params, generator=generator, dtype=torch.float64)
        right = plain_product(model, data, vector)
        assert (operator @ vector - right).norm() < tolerance * right.norm()


def plain_product(model, data, vector):
    model = model.double().eval()
    leaves = list(model.parameters())
    loss = nn.functional.cross_entropy(model(data[0]), data[1])
    gradient = torch.autograd.grad(loss, leaves, create_graph=True)
    parts = vector.split([leaf.numel() for leaf in leaves])
    slope = sum((g * v.view_as(g)).sum() for g, v in zip(gradient, parts, strict=True))
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(slope, leaves)])


@pytest.mark.parametrize("in_place", [False, True])
def test_products_of_torchvisions_resnet_are_plain_ones(in_place):
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=3).eval()
        inputs = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = in_place
    data = inputs, torch.tensor([0, 2])
    generator = torch.Generator().manual_seed(0)
    operator = Hessian(model, data, precision="float64")
    vector = torch.randn(operator.num_params, generator=generator, dtype=torch.float64)
    right = plain_product(model, data, vector)
    assert (operator @ vector - right).norm() < 1e-10 * right.norm()
    assert operator.describe()["differentiation"] == "by rules"
