"""Batch normalisation by running statistics, with a ReLU behind it or without.

Its second derivatives are those of an affine map. PyTorch composes them of a dozen passes over the
activations; here one fused kernel gives each pair of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from truehessian.operators.autograd.bilinear import Rules, absent, check_forward_is_over, wanted

aten = torch.ops.aten


class Statistics(NamedTuple):
    """Running statistics of a normalisation, each of shape (C,)."""

    mean: Tensor
    var: Tensor
    eps: float

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Compute (x - mean) / sqrt(var + eps) w + b, with 1 and 0 for what is None."""
        return torch.native_batch_norm(
            inputs, weight, bias, self.mean, self.var, False, 0.0, self.eps
        )[0]

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor | None, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""
        # CUDA's kernels insist on statistics of the batch, and take empty ones where none are used.
        unused = self.mean.new_empty(0)
        statistics = (self.mean, self.var, unused, unused)
        return aten.native_batch_norm_backward(
            cotangent, inputs, weight, *statistics, False, self.eps, list(needed)
        )

    @property
    def bias_axes(self) -> int:
        """How many axes weight and bias have."""
        return 1

    def centred(self) -> "Statistics":
        """Give the same with mean zero."""
        return self._replace(mean=torch.zeros_like(self.mean))

    def scale(self, weight: Tensor | None, rank: int) -> Tensor:
        """Give the factor of the inputs, in a shape that broadcasts over (B, C, ..)."""
        factor = torch.rsqrt(self.var + self.eps)
        factor = factor if weight is None else factor * weight
        return factor.view(-1, *[1] * (rank - 2))

    def scaled(self, tensor: Tensor, scale: Tensor) -> Tensor:
        """Multiply (B, C, ..) by a factor of the inputs."""
        return tensor * scale

    def add_scaled_(self, out: Tensor, tensor: Tensor, scale: Tensor) -> Tensor:
        """Add what `scaled` gives to `out`, in place."""
        return out.addcmul_(tensor, scale)


class Affine(Protocol):
    """What `Normalisation` has to know of a normalisation by numbers that are fixed."""

    @property
    def mean(self) -> Tensor:
        """What is taken off, in the shape of a bias."""

    @property
    def bias_axes(self) -> int:
        """How many axes weight and bias have."""

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalise, scale and shift."""

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor | None, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""

    def centred(self) -> "Affine":
        """Give the same with mean zero."""

    def scale(self, weight: Tensor | None, rank: int) -> Tensor:
        """Give the factor of the inputs."""

    def scaled(self, tensor: Tensor, scale: Tensor) -> Tensor:
        """Multiply by a factor of the inputs."""

    def add_scaled_(self, out: Tensor, tensor: Tensor, scale: Tensor) -> Tensor:
        """Add what `scaled` gives to `out`, in place."""


class Normalisation(Function):
    """y = (x - mean) / sqrt(var + eps) w + b, and max(y, 0) if `normalised` is this y."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        how: Affine,
        normalised: Tensor | None,
        rules: Rules,
    ) -> Tensor:
        """Compute y and keep what its derivatives need."""
        if normalised is None:
            output, rectified = how.forward(inputs, weight, bias), None
        else:
            output = rectified = F.relu(normalised)
        ctx.save_for_backward(inputs, weight, rectified)
        ctx.how, ctx.rules, ctx.bias, ctx.leaves = how, rules, bias, (id(weight), id(bias))
        return output

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        """Pull a cotangent back, in a way that can be differentiated where that is asked for."""
        check_forward_is_over(ctx.rules)
        inputs, weight, rectified = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            call = (cotangent, inputs, weight, rectified, needed)
            cotangents = _NormalisationBackward.apply(*call, ctx.how, ctx.rules, ctx.leaves)
        else:
            cotangent = _where_positive(cotangent, rectified)
            needed = wanted(needed, ctx.leaves, ctx.rules)
            cotangents = ctx.how.backward(cotangent, inputs, weight, needed)
        return (*cotangents, None, None, None)


def normalised_from(tensor: Tensor) -> tuple[Any, ...] | None:
    """Give the arguments of the normalisation whose result a tensor is, as the graph knows it.

    A tensor that anything has changed in place since has another node or another version.

    Returns
    -------
    tuple or None
        Inputs, weight, bias and `Statistics`; None for any other tensor.
    """
    node: Any = tensor.grad_fn
    if type(node) is not Normalisation._backward_cls or node.version != tensor._version:
        return None
    inputs, weight, rectified = node.saved_tensors
    return (inputs, weight, node.bias, node.how) if rectified is None else None


def normalise(*call: Any, normalised: Tensor | None = None, rules: Rules) -> Tensor:
    """Apply `Normalisation`, and note the version of the result for `normalised_from`."""
    output: Tensor = Normalisation.apply(*call, normalised, rules)
    if output.grad_fn is not None:
        output.grad_fn.version = output._version  # type: ignore[attr-defined]
    return output


class _NormalisationBackward(Function):
    """x' = w y' / sqrt(var + eps) where y is positive; w' and b' are left out."""

    @staticmethod
    def forward(
        ctx: Any,
        cotangent: Tensor,
        inputs: Tensor,
        weight: Tensor | None,
        rectified: Tensor | None,
        needed: Sequence[bool],
        how: Affine,
        rules: Rules,
        leaves: Sequence[int],
    ) -> Any:
        ctx.set_materialize_grads(False)
        cotangent = _where_positive(cotangent, rectified)
        ctx.save_for_backward(cotangent if rules.weights else None, inputs, weight, rectified)
        ctx.how, ctx.rules, ctx.leaves = how, rules, leaves
        # For every product with a graph that is kept: they do not depend on the vector.
        ctx.scale, ctx.centred = how.scale(weight, inputs.ndim), how.centred()
        own = how.scaled(cotangent, ctx.scale) if needed[0] else None
        return own, *absent(how.mean if weight is None else weight, needed, how.bias_axes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along_x: Tensor | None, along_w: Tensor | None, along_b: Any) -> Any:
        cotangent, inputs, _, rectified = ctx.saved_tensors
        how, weights = ctx.how, ctx.rules.weights
        _, x_needed, w_needed = wanted(ctx.needs_input_grad[:3], (0, *ctx.leaves[:1]), ctx.rules)
        by_cotangent = by_inputs = by_weight = None
        if along_w is not None or along_b is not None:
            direction = ctx.centred.mean if along_w is None else along_w
            by_cotangent = how.forward(inputs, direction, along_b)
        if along_x is not None:
            if by_cotangent is None:
                by_cotangent = how.scaled(along_x, ctx.scale)
            else:
                by_cotangent = how.add_scaled_(by_cotangent, along_x, ctx.scale)
        if by_cotangent is not None:
            by_cotangent = _where_positive(by_cotangent, rectified)
        x_needed = x_needed and along_w is not None
        if weights and along_x is not None and (x_needed or w_needed):
            # x' as a bilinear function of y' and w is the backward pass of a normalisation with
            # mean zero: one kernel gives both of its derivatives.
            by_inputs, by_weight, _ = ctx.centred.backward(
                cotangent, along_x, along_w, (x_needed, w_needed, False)
            )
        elif weights and x_needed:
            by_inputs = how.scaled(cotangent, how.scale(along_w, inputs.ndim))
        return by_cotangent, by_inputs, by_weight, None, None, None, None, None


def _where_positive(cotangent: Tensor, rectified: Tensor | None) -> Tensor:
    if rectified is None:
        return cotangent
    return aten.threshold_backward(cotangent, rectified, 0)
