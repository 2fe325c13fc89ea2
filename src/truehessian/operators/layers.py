"""Which of a network's layers are computed by rules of our own, with the same values."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from truehessian.operators.bilinear import Bilinear, Convolution, Product
from truehessian.operators.normalisation import Normalisation, Statistics

_ATTENTION = {F.scaled_dot_product_attention, F.multi_head_attention_forward}
_CONVOLUTIONS = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
_RELUS = {F.relu, torch.relu, Tensor.relu}
_NORMALISED_FROM = "_normalised_from"


class LayerRules(TorchFunctionMode):
    """Inside this context a network's layers build a graph for products with curvature matrices.

    Gradients of weights are right in their graph and wrong in their values.

    Parameters
    ----------
    weights
        Whether the gradient will be differentiated by the weights too, as for the Hessian, or only
        by the cotangent of the outputs that it is linear in, as for Gauss-Newton matrices.

    Attributes
    ----------
    attention
        Whether an attention has been met.
    """

    def __init__(self, *, weights: bool = True) -> None:
        super().__init__()
        self.weights = weights
        self.attention = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace the layers that there is a rule for."""
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS:
            return self._convolve(func, *args, **kwargs)
        if func is F.linear:
            return self._transform(*args, **kwargs)
        if func is F.batch_norm:
            return self._normalise(*args, **kwargs)
        if func in _RELUS and hasattr(args[0], _NORMALISED_FROM) and not _in_place(args, kwargs):
            return self._rectify(args[0])
        self.attention = self.attention or func in _ATTENTION
        return func(*args, **kwargs)

    def _convolve(
        self,
        func: Callable[..., Tensor],
        input: Tensor,  # noqa: A002 (PyTorch's name)
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        rank = _CONVOLUTIONS[func]
        if isinstance(padding, str) or input.ndim != rank + 2 or not _leaves(weight, bias):
            return func(input, weight, bias, stride, padding, dilation, groups)
        how = Convolution(_each(stride, rank), _each(padding, rank), _each(dilation, rank), groups)
        return Bilinear.apply(input, weight, bias, how, self.weights)

    def _transform(
        self,
        input: Tensor,  # noqa: A002
        weight: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        if input.ndim < 2 or not _leaves(weight, bias):
            return F.linear(input, weight, bias)
        return Bilinear.apply(input, weight, bias, Product(), self.weights)

    def _normalise(
        self,
        input: Tensor,  # noqa: A002
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        statistics = (running_mean, running_var)
        if training or running_mean is None or running_var is None or not _leaves(weight, bias):
            return F.batch_norm(input, *statistics, weight, bias, training, momentum, eps)
        call = (input, weight, bias, Statistics(running_mean, running_var, eps))
        output = Normalisation.apply(*call, None, self.weights)
        setattr(output, _NORMALISED_FROM, call)
        return output

    def _rectify(self, normalised: Tensor) -> Tensor:
        # The normalisation in front of it stays in the graph only if something else uses it.
        call = getattr(normalised, _NORMALISED_FROM)
        return Normalisation.apply(*call, normalised.detach(), self.weights)


def _leaves(*tensors: Tensor | None) -> bool:
    """Whether nobody sees the values of these tensors' gradients: no function is in front."""
    return all(tensor is None or tensor.is_leaf for tensor in tensors)


def _each(value: int | Sequence[int], rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value) * (rank // len(value))


def _in_place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return bool(args[1] if len(args) > 1 else kwargs.get("inplace", False))
