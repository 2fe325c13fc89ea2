"""The fake CUDA device: what a GPU refuses is refused, and the numbers are those of the CPU."""

import copy

import fake_cuda
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def memory():
    with fake_cuda.installed() as memory:
        yield memory


def vectors(*shape: int) -> tuple[Tensor, Tensor]:
    """The same numbers on both devices."""
    numbers = torch.arange(float(np.prod(shape))).view(shape).sin()
    return numbers, numbers.to("cuda")


@pytest.mark.parametrize(
    "mix",
    [
        lambda cpu, gpu: cpu + gpu,
        lambda cpu, gpu: gpu @ cpu.T,
        lambda cpu, gpu: torch.cat([cpu, gpu]),
        lambda cpu, gpu: torch.stack([cpu.sum(), gpu.sum()]),
        lambda cpu, gpu: gpu.addmm_(cpu, cpu),
        lambda cpu, gpu: cpu.mul_(gpu),
        lambda cpu, gpu: cpu * gpu.sum(),
        lambda cpu, gpu: cpu[gpu[0] > 0],
        lambda cpu, gpu: F.linear(gpu, torch.nn.Parameter(cpu)),
        lambda cpu, gpu: torch.einsum("ij,ik->jk", cpu, gpu),
    ],
)
def test_operations_on_tensors_of_both_devices_are_refused(mix):
    with pytest.raises(RuntimeError, match="same device"):
        mix(*vectors(3, 3))


def test_numbers_copies_and_indices_may_cross():
    cpu, gpu = vectors(3, 3)
    assert (gpu * cpu.sum()).device == torch.device("cuda:0")
    assert gpu[torch.tensor([0, 2])].device.type == "cuda"
    cpu[0] = gpu[1]
    assert cpu[0].equal(gpu[1].cpu())
    assert gpu.copy_(cpu).is_cuda
    assert gpu[0, 0].item() == gpu.tolist()[0][0] == cpu[0, 0].item()


WAITS = {
    "item": lambda cpu, gpu: gpu[0, 0].item(),
    "bool": lambda cpu, gpu: bool((gpu > 2).all()),
    "list": lambda cpu, gpu: gpu.tolist(),
    "to the host": lambda cpu, gpu: gpu.cpu(),
    "into the host": lambda cpu, gpu: cpu.copy_(gpu),
    "to the device": lambda cpu, gpu: cpu.cuda(),
    "into the device": lambda cpu, gpu: gpu.copy_(cpu),
    "by a mask": lambda cpu, gpu: gpu[gpu > 0],
    "by a list": lambda cpu, gpu: gpu[[1, 0]],
    "into rows of a list": lambda cpu, gpu: gpu.__setitem__([1, 0], gpu + 1),
    "from numbers": lambda cpu, gpu: torch.tensor([1.0, 2.0], device="cuda"),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_the_host_has_to_wait_for_is_listed(name):
    cpu, gpu = vectors(2, 3)
    with fake_cuda.waits() as waits:
        gpu.mul_(2).add_(gpu, alpha=3).copy_(gpu + 1)
        torch.stack([gpu.norm(), gpu.sum()]).div_(7)
        gpu[0] = torch.zeros(3, device="cuda") + gpu[1] + gpu[:, :1].T[0, 0]
    assert waits == []
    with fake_cuda.waits() as waits:
        WAITS[name](cpu, gpu)
    assert len(waits) == 1


@pytest.mark.parametrize("convert", [lambda tensor: tensor.numpy(), np.asarray])
def test_conversion_to_numpy_is_refused(convert):
    with pytest.raises(TypeError, match=r"Tensor\.cpu"):
        convert(vectors(3)[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, device="cuda"),
        lambda: torch.tensor([1.0, 2.0], device=torch.device("cuda")),
        lambda: torch.as_tensor([0, 1], dtype=torch.int64, device="cuda:0"),
        lambda: torch.randn(2).cuda(),
        lambda: torch.randn(2).to("cuda", torch.float64),
        lambda: torch.randn(2).to(torch.zeros(2, device="cuda")),
        lambda: torch.zeros_like(torch.randn(2), device="cuda"),
        lambda: torch.zeros(3, device="cuda").new_zeros(2),
        lambda: copy.deepcopy(nn.Linear(1, 2).to("cuda")).bias,
    ],
)
def test_tensors_are_made_on_the_device_that_is_named(make):
    made = make()
    assert made.shape == (2,)
    assert made.device == torch.device("cuda:0")
    assert type(made.cpu()) in (Tensor, nn.Parameter)
    assert made.to("cuda") is made


def test_only_the_one_device_is_there():
    with pytest.raises(RuntimeError, match="ordinal"):
        torch.zeros(2, device="cuda:1")
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(2, device="cuda", generator=torch.Generator())


def test_derivatives_are_those_of_the_cpu_and_lie_with_their_variables():
    cpu, gpu = vectors(4, 3)
    leaf, own = gpu.clone().requires_grad_(True), cpu.clone().requires_grad_(True)
    for first, second in ((leaf, own), (own.to("cuda"), own)):
        (found,) = torch.autograd.grad((first**3).sum(), first, create_graph=True)
        (again,) = torch.autograd.grad(found.sum(), first)
        assert found.is_cuda
        assert again.is_cuda
        assert torch.allclose(again.cpu(), 6 * second)
    (moved,) = torch.autograd.grad((own.to("cuda") * gpu).sum(), own)
    assert moved.equal(cpu)
    assert type(moved) is Tensor


def test_training_gives_the_bits_of_the_cpu():
    weights = []
    inputs, moved = vectors(8, 1, 6, 6)
    labels = torch.arange(8) % 3
    for images, targets in ((inputs, labels), (moved, labels.cuda())):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        model = nn.Sequential(*layers)
        before = list(model.parameters())
        model.to(images.device)
        assert all(old is new for old, new in zip(before, model.parameters(), strict=True))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimiser.zero_grad()
            F.cross_entropy(model(images), targets).backward()
            optimiser.step()
        assert all(p.device == images.device for p in model.state_dict().values())
        weights.append([p.detach().cpu() for p in model.parameters()])
    assert all(a.equal(b) for a, b in zip(*weights, strict=True))


def test_recurrent_layers_have_no_second_derivative_unless_cudnn_is_off():
    layer = nn.LSTM(3, 2).to("cuda")
    _, inputs = vectors(4, 1, 3)
    for enabled in (True, False):
        with torch.backends.cudnn.flags(enabled=enabled):
            gradients = torch.autograd.grad(
                layer(inputs)[0].sum(), list(layer.parameters()), create_graph=True
            )
        total = sum(g.square().sum() for g in gradients)
        if enabled:
            with pytest.raises(RuntimeError, match="double backward"):
                torch.autograd.grad(total, list(layer.parameters()))
        else:
            torch.autograd.grad(total, list(layer.parameters()))


def test_memory_is_that_of_what_is_held(memory):
    assert memory.allocated == 0
    kept = torch.zeros(1000, dtype=torch.float64, device="cuda")
    view = kept[:10]
    assert memory.allocated == 8000
    _ = kept + 1
    del _
    assert (memory.allocated, memory.peak) == (8000, 16000)
    assert torch.cuda.mem_get_info()[0] == memory.capacity - 8000
    memory.capacity = 12000
    with pytest.raises(torch.OutOfMemoryError):
        kept + 1
    del kept
    assert memory.allocated == 8000
    del view
    assert memory.allocated == 0


def test_batch_normalisation_has_no_second_derivative_without_saved_statistics():
    _, inputs = vectors(4, 2, 3, 3)
    ones, nothing = torch.ones(2, device="cuda"), torch.zeros(0, device="cuda")
    call = (inputs, inputs, ones, ones, ones)
    backward = torch.ops.aten.native_batch_norm_backward
    with pytest.raises(RuntimeError, match="save_mean"):
        backward(*call, None, None, False, 1e-5, [True, True, True])
    assert backward(*call, nothing, nothing, False, 1e-5, [True, True, True])[0].is_cuda


def test_zeros_that_the_engine_makes_itself_fit_to_either_device():
    """The second derivative of pooling by its inputs is such a zero; one's own zeros are not."""
    images = vectors(1, 1, 4, 4)[1].requires_grad_(True)
    pooled = F.max_pool2d(images**2, 2)
    (gradient,) = torch.autograd.grad(pooled.sum(), images, create_graph=True)
    (again,) = torch.autograd.grad(gradient.sum(), images)
    assert again.is_cuda
    assert again.sum().item() == 8  # twice the number of maxima

    class Misplaced(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tensor):
            return tensor.clone()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent + torch.zeros(4, 4)

    with pytest.raises(RuntimeError, match="same device"):
        torch.autograd.grad(Misplaced.apply(images).sum(), images)
