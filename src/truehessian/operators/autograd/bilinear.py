"""Layers that are linear in their inputs and in their weight, with cheap second derivatives.

A product with a curvature matrix differentiates the gradient and never needs the gradient's value:
the weight gradients of the first backward pass, a third of its arithmetic, are left out and only
stand for their graph.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


class Rules(Protocol):
    """What a layer has to know of the rules that it is computed by."""

    weights: bool  # whether the gradient will be differentiated by the weights too
    running: bool  # whether the network, or its loss, is still being computed
    skipped: Collection[int]  # ids of leaves that products are not differentiated by for now


class RulesDoNotHold(RuntimeError):  # noqa: N818 (nothing has failed)
    """The values of gradients are looked at, which are right in their graph only."""


_ONLY_INPUTS = (True, False, False)
# Numbers that inputs may have for two convolutions to be made as one over the channels of both: it
# spares the start of a kernel, and the copies cost more than that from four times as many on.
_FEW = 2**16


class Layer(Protocol):
    """A layer A(x, w) + b with A linear in both, and how its derivatives are computed."""

    @property
    def bias_axes(self) -> int:
        """How many axes the bias has, the first ones of the weight."""

    def forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute A(x, w) + b."""

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""


class Convolution(NamedTuple):
    """How a convolution is laid out; inputs (B, C, ..), weight (D, C / groups, ..)."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    @property
    def bias_axes(self) -> int:
        """As of every `Layer`."""
        return 1

    def forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute A(x, w) + b."""
        return torch.convolution(inputs, weight, bias, *self._arguments())

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""
        return aten.convolution_backward(
            cotangent, inputs, weight, [weight.shape[0]], *self._arguments(), list(needed)
        )

    def _arguments(self) -> tuple[Any, ...]:
        no_output_padding = [0] * len(self.stride)
        return (self.stride, self.padding, self.dilation, False, no_output_padding, self.groups)


class Product(NamedTuple):
    """A linear layer; inputs (.., C), weight (D, C)."""

    @property
    def bias_axes(self) -> int:
        """As of every `Layer`."""
        return 1

    def forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute A(x, w) + b."""
        return F.linear(inputs, weight, bias)

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""
        rows = cotangent.reshape(-1, cotangent.shape[-1])
        return (
            cotangent @ weight if needed[0] else None,
            rows.T @ inputs.reshape(-1, inputs.shape[-1]) if needed[1] else None,
            rows.sum(0) if needed[2] else None,
        )


class Bilinear(Function):
    """y = A(x, w) + b with A linear in both, such as a convolution."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        how: Layer,
        rules: Rules,
    ) -> Tensor:
        """Compute y and keep what its derivatives need."""
        ctx.save_for_backward(inputs, weight)
        ctx.how, ctx.rules, ctx.leaves = how, rules, (id(weight), id(bias))
        return how.forward(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        """Pull a cotangent back, in a way that can be differentiated where that is asked for."""
        check_forward_is_over(ctx.rules)
        inputs, weight = ctx.saved_tensors
        call = (cotangent, inputs, weight)
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            cotangents = _BilinearBackward.apply(*call, needed, ctx.how, ctx.rules, ctx.leaves)
        else:
            cotangents = ctx.how.backward(*call, wanted(needed, ctx.leaves, ctx.rules))
        return (*cotangents, None, None)


class _BilinearBackward(Function):
    """(x', w', b') = (A(., w)ᵀ y', A(x, .)ᵀ y', sum y'), of which w' and b' are left out."""

    @staticmethod
    def forward(
        ctx: Any,
        cotangent: Tensor,
        inputs: Tensor,
        weight: Tensor,
        needed: Sequence[bool],
        how: Layer,
        rules: Rules,
        leaves: Sequence[int],
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(cotangent if rules.weights else None, inputs, weight)
        ctx.how, ctx.rules, ctx.leaves = how, rules, leaves
        own = how.backward(cotangent, inputs, weight, _ONLY_INPUTS)[0] if needed[0] else None
        return own, *absent(weight, needed, how.bias_axes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along_x: Tensor | None, along_w: Tensor | None, along_b: Any) -> Any:
        cotangent, inputs, weight = ctx.saved_tensors
        _, x_needed, w_needed = wanted(ctx.needs_input_grad[:3], (0, *ctx.leaves[:1]), ctx.rules)
        by_inputs = by_weight = None
        by_cotangent = _moved(ctx.how, (inputs, weight), along_x, along_w, along_b)
        needed = (x_needed and along_w is not None, w_needed and along_x is not None, False)
        if ctx.rules.weights and any(needed):
            # The one follows from the weight and the other from the inputs: one call gives both.
            call = (inputs if along_x is None else along_x, weight if along_w is None else along_w)
            by_inputs, by_weight, _ = ctx.how.backward(cotangent, *call, needed)
        return by_cotangent, by_inputs, by_weight, None, None, None, None


def _moved(
    how: Layer,
    at: tuple[Tensor, Tensor],
    along_x: Tensor | None,
    along_w: Tensor | None,
    along_b: Tensor | None,
) -> Tensor | None:
    """Give A(x', w) + A(x, w') + b' for what there is of directions x', w' and b'."""
    inputs, weight = at
    if along_w is None and along_b is None:
        return None if along_x is None else how.forward(along_x, weight, None)
    if along_w is None:
        along_w = torch.zeros_like(weight)
    if along_x is None:
        return how.forward(inputs, along_w, along_b)
    if isinstance(how, Convolution) and how.groups == 1 and inputs.numel() <= _FEW:
        both = torch.cat([inputs, along_x], 1), torch.cat([along_w, weight], 1)
        return how.forward(*both, along_b)
    return how.forward(inputs, along_w, along_b).add_(how.forward(along_x, weight, None))


def check_forward_is_over(rules: Rules) -> None:
    """Refuse to stand in for gradients that the network itself, or its loss, asks for.

    Raises
    ------
    RulesDoNotHold
        A gradient is taken while the network or its loss is being computed.
    """
    if rules.running:
        raise RulesDoNotHold("a gradient is taken in the forward pass")


def wanted(needed: Sequence[bool], leaves: Sequence[int], rules: Rules) -> Sequence[bool]:
    """Leave out the gradients by leaves that a product is not differentiated by.

    PyTorch says which gradients a graph can give, and not which of them are asked for.

    Parameters
    ----------
    needed
        Of the inputs, and then of leaves.
    leaves
        Their ids.
    rules
        Say which are skipped.
    """
    return needed[0], *(
        need and leaf not in rules.skipped for need, leaf in zip(needed[1:], leaves, strict=True)
    )


def absent(
    weight: Tensor, needed: Sequence[bool], bias_axes: int
) -> tuple[Tensor | None, Tensor | None]:
    """Stand in for the gradients of weight and bias, by tensors that take no memory and no time."""
    nothing = weight.new_zeros(())
    return (
        nothing.expand(weight.shape) if needed[1] else None,
        nothing.expand(weight.shape[:bias_axes]) if needed[2] else None,
    )
