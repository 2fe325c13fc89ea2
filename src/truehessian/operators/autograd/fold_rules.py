"""The rules for layers of a network that several equally large batches pass through together."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from truehessian.operators.autograd.bilinear import Bilinear, Convolution, Product, RulesDoNotHold
from truehessian.operators.autograd.folded_layers import (
    FoldedConvolution,
    FoldedProduct,
    FoldedStatistics,
)
from truehessian.operators.autograd.layers import LayerRules
from truehessian.operators.autograd.normalisation import Statistics, normalise


class FoldRules(LayerRules):
    """Inside this context each batch has a copy of the weights, which its gradient is taken by.

    A network is called with the examples of all batches, those at one place of all batches behind
    each other, and with its own weights. Where a layer that there is a rule for takes one of them,
    the copies of all batches step in. Any other use of a weight shows in the graph, see `check`.

    Parameters
    ----------
    dtype, device, weights
        As of `LayerRules`.
    copies
        Leaves of shape (F, ..) by the ids of the network's own parameters.
    folds, examples
        Number F of batches, and of the examples of all of them.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device,
        *,
        copies: Mapping[int, Tensor],
        folds: int,
        examples: int,
        weights: bool = True,
    ) -> None:
        super().__init__(dtype, device, weights=weights)
        self.copies, self.folds, self.examples = copies, folds, examples

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        output = None
        if func is F.layer_norm:
            output = self._normalise_layer(*args, **kwargs)
        elif func is F.group_norm:
            output = self._normalise_groups(*args, **kwargs)
        elif func is F.embedding:
            output = self._look_up(*args, **kwargs)
        return super()._call(func, args, kwargs) if output is None else output

    def _bilinear(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None, how: Convolution | Product
    ) -> Tensor | None:
        if not self._has_copies(weight, bias):
            return super()._bilinear(inputs, weight, bias, how)
        if not self._are_of_all(inputs):
            return None
        own = (
            FoldedConvolution(self.folds, how)
            if isinstance(how, Convolution)
            else FoldedProduct(self.folds)
        )
        output: Tensor = Bilinear.apply(
            inputs, self._copies_of(weight), self._copies_of(bias), own, self
        )
        return output

    def _affine(
        self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, how: Statistics
    ) -> Tensor | None:
        if not self._has_copies(weight, bias):
            return super()._affine(inputs, weight, bias, how)
        if not self._are_of_all(inputs):
            return None
        own = FoldedStatistics.of(how, self.folds)
        return normalise(inputs, self._copies_of(weight), self._copies_of(bias), own, rules=self)

    def _normalise_layer(
        self,
        input: Tensor,  # noqa: A002
        normalized_shape: Any,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor | None:
        inner = [1] * (input.ndim - 1 - len(normalized_shape))
        plain = partial(F.layer_norm, input, normalized_shape, eps=eps)
        return self._scaled(plain, input, weight, bias, [*inner, *normalized_shape])

    def _normalise_groups(
        self,
        input: Tensor,  # noqa: A002
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor | None:
        plain = partial(F.group_norm, input, num_groups, eps=eps)
        return self._scaled(plain, input, weight, bias, [-1, *[1] * (input.ndim - 2)])

    def _scaled(
        self,
        plain: Callable[[], Tensor],
        inputs: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        shape: list[int],
    ) -> Tensor | None:
        """Compute w y + b with the weights of each batch, which have `shape` beside an example.

        `plain` normalises the inputs without them.
        """
        if not self._has_copies(weight, bias) or not self._are_of_all(inputs):
            return None
        batches = plain().reshape(-1, self.folds, *inputs.shape[1:])
        if weight is not None:
            batches = batches * self._copies_of(weight).reshape(self.folds, *shape)
        if bias is not None:
            batches = batches + self._copies_of(bias).reshape(self.folds, *shape)
        return batches.reshape(inputs.shape)

    def _look_up(
        self,
        input: Tensor,  # noqa: A002
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Tensor | None:
        """Find rows in the copies of a table, which lie behind each other."""
        del norm_type, sparse
        if not self._has_copies(weight) or not self._are_of_all(input):
            return None
        if max_norm is not None or scale_grad_by_freq:
            return None
        batch = torch.arange(len(input), device=input.device) % self.folds
        places = input + len(weight) * batch.view(-1, *[1] * (input.ndim - 1))
        rows = F.embedding(places, self._copies_of(weight).flatten(0, 1))
        if padding_idx is None:
            return rows
        # As PyTorch, which learns nothing there.
        is_padding = (input == padding_idx % len(weight)).unsqueeze(-1)
        return torch.where(is_padding, rows.detach(), rows)

    def _has_copies(self, *tensors: Tensor | None) -> bool:
        return any(id(tensor) in self.copies for tensor in tensors)

    def _copies_of(self, tensor: Any) -> Any:
        """Give the copies of a parameter; of a constant as many views."""
        if tensor is None:
            return None
        found = self.copies.get(id(tensor))
        return tensor.expand(self.folds, *tensor.shape) if found is None else found

    def _are_of_all(self, inputs: Tensor) -> bool:
        """Whether the first axis counts the examples of all batches, as its length tells."""
        return inputs.ndim > 0 and len(inputs) == self.examples

    def check(self, outputs: Sequence[Tensor]) -> None:
        """Refuse a graph that holds weights which all batches share.

        Raises
        ------
        RulesDoNotHold
            A parameter is used by something that there is no rule for.
        """
        waiting, seen = [tensor.grad_fn for tensor in outputs], set()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if id(getattr(node, "variable", None)) in self.copies:
                raise RulesDoNotHold(
                    "a weight is used by more than the layers that there are rules for"
                )
            waiting += [following for following, _ in node.next_functions]
