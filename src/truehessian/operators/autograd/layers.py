"""Which of a network's layers are computed by rules of our own, with the same values."""

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from truehessian.operators.autograd.bilinear import Bilinear, Convolution, Product
from truehessian.operators.autograd.definition import ByDefinition, ConvolutionCall, each
from truehessian.operators.autograd.normalisation import Statistics, normalise, normalised_from

_CONVOLUTIONS = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
# Of tensors and parameters, and of subclasses that leave functions as they are.
_ORDINARY = {Tensor.__torch_function__, torch._C._disabled_torch_function_impl}
_RELUS = {F.relu, torch.relu, Tensor.relu}


class LayerRules(ByDefinition):
    """Inside this context a network's layers build a graph for products with curvature matrices.

    Gradients of weights are right in their graph and wrong in their values. Rules go by the
    tensors' own graph, and step aside where weights are anything but plain leaves of it.

    Parameters
    ----------
    dtype, device
        As of `ByDefinition`.
    weights
        Whether the gradient will be differentiated by the weights too, as for the Hessian, or only
        by the cotangent of the outputs that it is linear in, as for Gauss-Newton matrices.

    Attributes
    ----------
    running
        Whether the context is entered: a gradient that is taken meanwhile would be wrong.
    skipped
        Ids of leaves that are not differentiated by for now; whoever shares the set changes it.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device, *, weights: bool = True) -> None:
        super().__init__(dtype, device)
        self.weights = weights
        self.running = False
        self.skipped: Collection[int] = ()

    def __enter__(self) -> "LayerRules":
        """Begin with a network, or with its loss."""
        super().__enter__()
        self.running = True
        return self

    def __exit__(self, *error: object) -> None:
        """End with it: from now on gradients are taken for a product."""
        self.running = False
        super().__exit__(*error)

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Replace the layers that there is a rule for."""
        output = None
        if func in _CONVOLUTIONS:
            output = self._convolve(_CONVOLUTIONS[func], ConvolutionCall(*args, **kwargs))
        elif func is F.linear:
            output = self._transform(*args, **kwargs)
        elif func is F.batch_norm:
            output = self._normalise(*args, **kwargs)
        elif func in _RELUS:
            output = self._rectify(*args, **kwargs)
        return super()._call(func, args, kwargs) if output is None else output

    def _convolve(self, rank: int, call: ConvolutionCall) -> Tensor | None:
        inputs, weight, bias, *_ = call
        if isinstance(call.padding, str) or {inputs.ndim, weight.ndim} != {rank + 2}:
            return None
        if not _are_plain(inputs, weight, bias) or not _are_leaves(weight, bias):
            return None
        stride, padding, dilation = (
            each(value, rank) for value in (call.stride, call.padding, call.dilation)
        )
        how = Convolution(stride, padding, dilation, call.groups)
        return self._bilinear(inputs, weight, bias, how)

    def _transform(
        self,
        input: Tensor,  # noqa: A002
        weight: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor | None:
        if input.ndim < 2 or weight.ndim != 2:
            return None
        if not _are_plain(input, weight, bias) or not _are_leaves(weight, bias):
            return None
        return self._bilinear(input, weight, bias, Product())

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
    ) -> Tensor | None:
        if training or running_mean is None or running_var is None or input.ndim < 2:
            return None
        if not _are_plain(input, weight, bias) or not _are_leaves(weight, bias):
            return None
        if running_mean.dtype != input.dtype or running_mean.requires_grad:
            return None
        return self._affine(input, weight, bias, Statistics(running_mean, running_var, eps))

    def _bilinear(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None, how: Convolution | Product
    ) -> Tensor | None:
        """Compute a layer that is linear in inputs and weight."""
        output: Tensor = Bilinear.apply(inputs, weight, bias, how, self)
        return output

    def _affine(
        self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, how: Statistics
    ) -> Tensor | None:
        """Compute a normalisation by numbers that are fixed."""
        return normalise(inputs, weight, bias, how, rules=self)

    def _rectify(self, input: Tensor, inplace: bool = False) -> Tensor | None:  # noqa: A002
        call = None if inplace else normalised_from(input)
        if call is None:
            return None
        # The normalisation in front of it stays in the graph only if something else uses it.
        return normalise(*call, normalised=input.detach(), rules=self)


def _are_leaves(weight: Tensor | None, bias: Tensor | None) -> bool:
    """Whether nobody sees the values of their gradients: no function is in front."""
    if bias is not None and (weight is None or bias.shape != weight.shape[:1]):
        return False
    return all(tensor is None or tensor.is_leaf for tensor in (weight, bias))


def _are_plain(inputs: Tensor, *others: Tensor | None) -> bool:
    """Whether all are dense real tensors of one type, and none means something else by itself."""
    return inputs.is_floating_point() and all(
        tensor is None
        or (
            type(tensor).__torch_function__ in _ORDINARY
            and tensor.dtype == inputs.dtype
            and tensor.layout == torch.strided
        )
        for tensor in (inputs, *others)
    )
