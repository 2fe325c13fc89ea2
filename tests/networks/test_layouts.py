"""Which networks reach the broken kernel with channels last, and that it is as broken as said."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from truehessian.networks import registry
from truehessian.networks.layouts import channels_last_is_safe


class OwnForward(nn.Conv2d):
    def forward(self, inputs):
        return F.conv2d(inputs, self.weight, stride=2)


class OwnInner(nn.Conv2d):
    def _conv_forward(self, inputs, weight, bias):
        return F.conv2d(inputs, weight, bias, stride=2)


class Functional(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(*shape))

    def forward(self, inputs):
        return F.conv2d(inputs, self.kernel, stride=2)


def replaced():
    layer = nn.Conv2d(4, 8, 1)
    layer.forward = lambda inputs: F.conv2d(inputs, layer.weight, stride=2)
    return layer


def parametrised(**settings):
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, **settings))


def safe(layer, device="cpu", dtype=torch.float32):
    return channels_last_is_safe(nn.Sequential(nn.Identity(), layer), torch.device(device), dtype)


UNSAFE = {
    "one channel": lambda: nn.Conv2d(1, 8, 1, stride=2),
    "two channels": lambda: nn.Conv2d(2, 8, 1, stride=2),
    "seven channels": lambda: nn.Conv2d(7, 8, 1, stride=2),
    "fifteen channels": lambda: nn.Conv2d(15, 8, 1, stride=2),
    "stride along one axis": lambda: nn.Conv2d(4, 8, 1, stride=(1, 2)),
    "padded": lambda: nn.Conv2d(4, 8, 1, stride=3, padding=1),
    "many channels in groups": lambda: nn.Conv2d(32, 32, 1, stride=2, groups=4),
    "one dimension": lambda: nn.Conv1d(4, 8, 1, stride=2),
    "three dimensions": lambda: nn.Conv3d(4, 8, 1, stride=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 8, 1, stride=2),
    "lazy": lambda: nn.LazyConv2d(8, 1, stride=2),
    "lazy otherwise": lambda: nn.LazyLinear(8),
    "parametrised": lambda: parametrised(kernel_size=1, stride=2),
    "forward of its own": lambda: OwnForward(4, 8, 1),
    "inner forward of its own": lambda: OwnInner(4, 8, 1),
    "forward replaced": replaced,
    "functional": lambda: Functional(8, 4, 1, 1),
    "nested": lambda: nn.ModuleDict({"a": nn.Sequential(nn.Conv2d(4, 8, 1, stride=2))}),
    "narrow preresnet": lambda: registry.build(
        "preresnet", num_classes=10, input_shape=(1, 8, 8), depth=8, width=8
    ),
}
SAFE = {
    "no convolution": lambda: nn.Linear(4, 2),
    "stride one": lambda: nn.Conv2d(4, 8, 1),
    "parametrised, stride one": lambda: parametrised(kernel_size=1),
    "parametrised, larger kernel": lambda: parametrised(kernel_size=3, stride=2),
    "larger kernel": lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1),
    "long kernel": lambda: nn.Conv2d(4, 8, (1, 3), stride=2),
    "sixteen channels": lambda: nn.Conv2d(16, 8, 1, stride=2),
    "functional, larger kernel": lambda: Functional(8, 4, 3, 3),
    "functional, sixteen channels": lambda: Functional(8, 16, 1, 1),
    "scale of each channel": lambda: Functional(8, 1, 1),
    "wide preresnet": lambda: registry.build(
        "preresnet", num_classes=10, input_shape=(1, 8, 8), depth=8, width=16
    ),
}


@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_whatever_may_reach_the_broken_kernel_is_not_safe(make):
    assert not safe(make())
    assert not safe(make(), dtype=torch.bfloat16)


@pytest.mark.parametrize("make", SAFE.values(), ids=SAFE)
def test_other_networks_are_safe(make):
    assert safe(make())


def test_double_precision_and_other_devices_have_kernels_of_their_own():
    layer = nn.Conv2d(4, 8, 1, stride=2)
    assert safe(layer, dtype=torch.float64)
    assert safe(layer, device="cuda")


def test_a_copy_and_a_network_on_the_meta_device_have_the_same_answer():
    for make in (UNSAFE["seven channels"], SAFE["sixteen channels"]):
        assert safe(copy.deepcopy(make())) == safe(make().to("meta")) == safe(make())


GRADIENTS = """
import json, sys, torch
generator = torch.Generator().manual_seed(0)
for channels, last in json.loads(sys.argv[1]):
    layout = torch.channels_last if last else torch.contiguous_format
    inputs = torch.randn(12, channels, 8, 8, generator=generator)
    for _ in range(8):
        single = torch.nn.Conv2d(channels, 8, 1, stride=2, bias=False)
        double = torch.nn.Conv2d(channels, 8, 1, stride=2, bias=False).double()
        double.load_state_dict(single.state_dict())
        cotangent = torch.randn(12, 8, 4, 4, generator=generator)
        images = inputs.contiguous(memory_format=layout)
        (single.to(memory_format=layout)(images) * cotangent).sum().backward()
        (double(inputs.double()) * cotangent.double()).sum().backward()
        error = (single.weight.grad - double.weight.grad).norm() / double.weight.grad.norm()
        assert error < 1e-4, (channels, last, error)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernels_that_are_left_are_right_on_a_processor_with_avx2(threads):
    """Weight gradients of strided 1x1 convolutions against float64, in a process that may die."""
    processor = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    environment = {**os.environ, **processor, "OMP_NUM_THREADS": str(threads)}
    left = [(2, False), (4, False), (7, False), (16, True), (24, True)]
    command = [sys.executable, "-c", GRADIENTS, json.dumps(left)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
