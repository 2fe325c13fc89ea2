"""TF32 and the error that is stated beside it, on processors that have none."""

import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from truehessian.operators import GGN, Hessian, twin

_ROUNDED = ("convolution", "mm", "addmm", "bmm", "convolution_backward")


class Rounding(TorchDispatchMode):
    """Round the operands of products to the ten bits that TF32 has."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in _ROUNDED:
            args = [
                _rounded(a) if isinstance(a, Tensor) and a.dtype == torch.float32 else a
                for a in args
            ]
        return func(*args, **(kwargs or {}))


def _rounded(tensor):
    return ((tensor.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@contextlib.contextmanager
def stand_in(precision):
    with Rounding() if precision == "tf32" else contextlib.nullcontext(), torch.enable_grad():
        yield


def operator(cls, precision):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 5))
    data = torch.randn(6, 1, 8, 8), torch.randint(0, 5, (6,))
    return cls(network, data, precision=precision)


@pytest.mark.parametrize("cls", [Hessian, GGN])
def test_the_error_of_tf32_is_that_of_products_with_rounded_operands(cls, monkeypatch):
    monkeypatch.setattr(twin, "arithmetic", stand_in)
    matrix = operator(cls, "tf32")
    matrix.settle()
    # Ten bits round by 2^-11 at most; some products in a row, and their sum, by a few of that.
    assert 2**-16 < matrix.describe()["tf32_error"] < 2**-8


def test_a_processor_without_tf32_makes_no_error():
    matrix = operator(Hessian, "tf32")
    matrix.settle()
    assert matrix.describe()["tf32_error"] == 0


def test_other_precisions_state_none():
    matrix = operator(Hessian, "float32")
    matrix.settle()
    assert "tf32_error" not in matrix.describe()
