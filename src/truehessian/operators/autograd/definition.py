"""How a network is computed whose outputs are to be differentiated twice.

Kernels that have no second derivative or a wrong one, and arithmetic in less than the operator's
precision, are replaced by what defines them, whatever the network asks for.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from truehessian import devices
from truehessian.networks import layouts

_ATTENTION = {F.scaled_dot_product_attention, F.multi_head_attention_forward}
_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
# What a network may ask for, and what is done instead.
DONE_WITHOUT = {
    "attention": "computed by its definition, which has second derivatives",
    "autocast": "off, so that products have the operator's precision",
    "casts": "those to a lower precision are left out, so that products have the operator's",
}
_CASTS = {
    Tensor.to,
    Tensor.type,
    Tensor.type_as,
    Tensor.half,
    Tensor.bfloat16,
    Tensor.float,
}


class ConvolutionCall(NamedTuple):
    """What a convolution of PyTorch is called with, by its names."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1


class ByDefinition(TorchFunctionMode):
    """Inside this context layers are computed by definitions that have second derivatives.

    - Attention is computed by its definition; recurrent layers do without cuDNN.
    - Weight normalisation is written out: the second derivative of PyTorch's kernel for it is
      wrong (its backward pass takes the norm for a constant).
    - Autocast is off, and casts of the network to a lower precision than the operator's are left
      out, since what is rounded there would be a part of the matrix.
    - Embeddings have dense gradients.

    Parameters
    ----------
    dtype
        Precision of the operator.
    device
        Where it computes.

    Attributes
    ----------
    met
        What has been met and done without, by the names in `DONE_WITHOUT`.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.dtype = dtype
        self.device = device
        self.met: set[str] = set()
        self._contexts: list[contextlib.ExitStack] = []

    def __enter__(self) -> "ByDefinition":
        """Choose attention by definition, and factories that give the operator's precision."""
        stack = contextlib.ExitStack()
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_default_dtype(self.dtype))
        self._contexts.append(stack)
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Put back what was there before."""
        super().__exit__(*error)
        self._contexts.pop().close()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute one function, by its definition where that is not what PyTorch does."""
        del types
        kwargs = kwargs or {}
        if torch.is_autocast_enabled(self.device.type):
            self.met.add("autocast")
            with torch.autocast(self.device.type, enabled=False):
                return self._compute(func, args, kwargs)
        return self._compute(func, args, kwargs)

    def _compute(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        if func in _ATTENTION:
            self.met.add("attention")
        elif func is torch._weight_norm:
            return weight_norm(*args, **kwargs)
        elif func is F.conv2d:
            args, kwargs = self._by_points(ConvolutionCall(*args, **kwargs)), {}
        elif func is F.embedding and kwargs.get("sparse"):
            kwargs = {**kwargs, "sparse": False}
        elif func in _RECURRENT and self.device.type == "cuda":
            with devices.without_cudnn():
                return func(*args, **kwargs)
        elif func in _CASTS:
            return self._cast(func, args, kwargs)
        if self._is_lower(kwargs.get("dtype")) and func is not Tensor.view:
            kwargs = {**kwargs, "dtype": self.dtype}
        return self._call(func, args, kwargs)

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Compute a function of PyTorch's that nothing stands in for."""
        return func(*args, **kwargs)

    def _cast(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        if args[0].dtype == self.dtype and self._is_lower(result.dtype):
            self.met.add("casts")
            return args[0].to(result.device)
        return result

    def _is_lower(self, dtype: Any) -> bool:
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            return False
        return dtype.itemsize < self.dtype.itemsize

    def _by_points(self, call: ConvolutionCall) -> ConvolutionCall:
        """Do without strides where a convolution's kernels for them are wrong.

        A 1x1 convolution with a stride is one without, of every other point. On processors with
        AVX2 and without AVX-512, oneDNN's weight gradient with few input channels, a stride and
        channels last is wrong or ends the process, however the layout comes about; see `layouts`.
        """
        rows, columns = each(call.stride, 2)
        padding = [0, 0] if call.padding == "valid" else call.padding
        if (
            self.device.type != "cpu"
            or call.input.dtype != torch.float32
            or max(rows, columns) == 1
            or call.weight.shape[1] >= layouts.BLOCK
            or tuple(call.weight.shape[2:]) != (1, 1)
            or isinstance(padding, str)
        ):
            return call
        height, width = each(padding, 2)
        padded = call.input
        if height or width:
            padded = F.pad(padded, (width, width, height, height))
        return call._replace(input=padded[..., ::rows, ::columns], stride=1, padding=0)


def each(value: int | Sequence[int], rank: int) -> list[int]:
    """Give a setting of a layer for each of its axes."""
    return [value] * rank if isinstance(value, int) else list(value) * (rank // len(value))


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Compute g v / ||v||, with norms over all axes but `dim`, or over all for -1."""
    axes = [axis for axis in range(v.ndim) if dim == -1 or axis != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt())


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
