"""Products do not depend on the processor's kernels, nor on how threads share the work."""

import subprocess
import sys

import pytest
import torch
from cases import dense_by_two_passes, examples, network
from torch import nn

from truehessian import models
from truehessian.operators import GGN, Hessian

# The kernels of a processor with AVX2 and without AVX-512, where oneDNN has a fault.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

NARROW = """
import torch
from truehessian import models
from truehessian.operators import Hessian

torch.set_num_threads({threads})
generator = torch.Generator().manual_seed(0)
data = torch.randn(24, 1, 8, 8, generator=generator), torch.arange(24) % 10
for width in (2, 3, 5, 7, 8):
    build = dict(num_classes=10, input_shape=(1, 8, 8), depth=8, width=width, seed=0)
    model = models.build("preresnet", **build)
    how = dict(data=data, chunk_size=12)
    exact, single = (Hessian(model, precision=p, **how) for p in ("float64", "float32"))
    for _ in range(3):
        vector = torch.randn(exact.num_params, generator=generator, dtype=torch.float64)
        right = exact @ vector
        assert (single @ vector - right).norm() < 1e-3 * right.norm(), width
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_narrow_networks_are_right_on_older_processors(threads, monkeypatch):
    """In a process of its own, which the fault would kill."""
    for name, value in AVX2.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", NARROW.format(threads=threads)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-500:]


class Shortcut(nn.Module):
    """A strided 1x1 convolution; of a layer, or of a weight that the code takes for one."""

    def __init__(self, channels, functional):
        super().__init__()
        self.functional = functional
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        if functional:
            self.flat = nn.Parameter(torch.randn(4, channels))
        else:
            self.short = nn.Conv2d(channels, 4, 1, stride=2)
        self.head = nn.Linear(16, 3)

    def forward(self, inputs):
        hidden = torch.tanh(self.stem(inputs))
        if self.functional:
            hidden = nn.functional.conv2d(hidden, self.flat[:, :, None, None], stride=2)
        else:
            hidden = self.short(hidden)
        return self.head(torch.tanh(hidden).flatten(1))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(("channels", "last"), [(4, False), (15, False), (16, True)])
def test_channels_last_is_taken_for_wide_shortcuts_only(channels, last, functional):
    model = network(lambda: Shortcut(channels, functional))
    for kind in (Hessian, GGN):
        operator = kind(model, examples(6))
        operator @ torch.ones(operator.num_params)
        assert operator.describe()["channels_last"] is last


@pytest.mark.parametrize("width", [2, 4, 8])
def test_products_of_narrow_residual_networks_are_plain_ones(width):
    model = models.build(
        "preresnet", num_classes=3, input_shape=(1, 4, 4), depth=8, width=width, seed=0
    )
    data = examples(4)
    matrix = dense_by_two_passes(model, *data) if width == 2 else None
    for precision, tolerance in (("float64", 1e-10), ("float32", 1e-4)):
        operator = Hessian(model, data, precision=precision, chunk_size=3)
        generator = torch.Generator().manual_seed(0)
        vector = torch.randn(operator.num_params, generator=generator, dtype=torch.float64)
        right = plain_product(model, data, vector) if matrix is None else matrix @ vector
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
