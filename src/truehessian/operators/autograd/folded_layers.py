"""Layers that have weights of their own for each of several equally large batches.

Of F batches of B examples, example b of batch f is the row b F + f of all activations: batches vary
fastest. In memory (B F, C, ..) is then the same as (B, F C, ..), so that one grouped convolution is
those of all batches, and no activation is ever copied to be arranged. Weights of all batches lie
in one tensor whose first axis counts batches.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from truehessian.operators.autograd.bilinear import Convolution
from truehessian.operators.autograd.normalisation import Statistics


class FoldedConvolution(NamedTuple):
    """A convolution of each batch; inputs (B F, C, ..), weight (F, D, C / groups, ..)."""

    folds: int
    one: Convolution

    @property
    def bias_axes(self) -> int:
        """How many axes the bias has, the first ones of the weight."""
        return 2

    def forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute A(x, w) + b."""
        own = None if bias is None else bias.reshape(-1)
        output = self._all().forward(side_by_side(inputs, self.folds), weight.flatten(0, 1), own)
        return apart(output, self.folds)

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""
        of_inputs, of_weight, of_bias = self._all().backward(
            side_by_side(cotangent, self.folds),
            side_by_side(inputs, self.folds),
            weight.flatten(0, 1),
            needed,
        )
        return (
            None if of_inputs is None else apart(of_inputs, self.folds),
            None if of_weight is None else of_weight.view(weight.shape),
            None if of_bias is None else of_bias.view(weight.shape[:2]),
        )

    def _all(self) -> Convolution:
        return self.one._replace(groups=self.one.groups * self.folds)


class FoldedProduct(NamedTuple):
    """A linear layer of each batch; inputs (B F, .., C), weight (F, D, C)."""

    folds: int

    @property
    def bias_axes(self) -> int:
        """How many axes the bias has, the first ones of the weight."""
        return 2

    def forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute A(x, w) + b."""
        rows, columns = self._by_batch(inputs), weight.transpose(1, 2)
        if bias is None:
            output = torch.bmm(rows, columns)
        else:
            output = torch.baddbmm(bias.unsqueeze(1), rows, columns)
        return self._in_order(output, inputs)

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""
        rows = self._by_batch(cotangent)
        return (
            self._in_order(torch.bmm(rows, weight), inputs) if needed[0] else None,
            torch.bmm(rows.transpose(1, 2), self._by_batch(inputs)) if needed[1] else None,
            rows.sum(1) if needed[2] else None,
        )

    def _by_batch(self, tensor: Tensor) -> Tensor:
        """Arrange (B F, .., C) as (F, B .., C)."""
        apart = tensor.reshape(-1, self.folds, *tensor.shape[1:])
        return apart.transpose(0, 1).reshape(self.folds, -1, tensor.shape[-1])

    def _in_order(self, product: Tensor, like: Tensor) -> Tensor:
        """Arrange (F, B .., D) as the rows of `like`, (B F, .., D)."""
        batches = product.view(self.folds, -1, *like.shape[1:-1], product.shape[-1])
        return batches.transpose(0, 1).reshape(*like.shape[:-1], product.shape[-1])


class FoldedStatistics(NamedTuple):
    """Running statistics that all batches share; inputs (B F, C, ..), weight and bias (F, C)."""

    folds: int
    every: Statistics  # of all batches behind each other, shape (F C,)

    @classmethod
    def of(cls, one: Statistics, folds: int) -> "FoldedStatistics":
        """Repeat the statistics of a layer for each batch."""
        mean, var = (t.repeat(folds) for t in (one.mean, one.var))
        return cls(folds, Statistics(mean, var, one.eps))

    @property
    def mean(self) -> Tensor:
        """The running mean of each batch, shape (F, C)."""
        return self.every.mean.view(self.folds, -1)

    @property
    def bias_axes(self) -> int:
        """How many axes weight and bias have."""
        return 2

    def forward(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalise, scale and shift."""
        output = self.every.forward(side_by_side(inputs, self.folds), flat(weight), flat(bias))
        return apart(output, self.folds)

    def backward(
        self, cotangent: Tensor, inputs: Tensor, weight: Tensor | None, needed: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """Pull a cotangent back to those of inputs, weight and bias that are needed."""
        of_inputs, *of_own = self.every.backward(
            side_by_side(cotangent, self.folds),
            side_by_side(inputs, self.folds),
            flat(weight),
            needed,
        )
        return (
            None if of_inputs is None else apart(of_inputs, self.folds),
            *(None if own is None else own.view(self.folds, -1) for own in of_own),
        )

    def centred(self) -> "FoldedStatistics":
        """Give the same with mean zero."""
        return self._replace(every=self.every.centred())

    def scale(self, weight: Tensor | None, rank: int) -> Tensor:
        """Give the factor of the inputs, for all batches behind each other."""
        return self.every.scale(flat(weight), rank)

    def scaled(self, tensor: Tensor, scale: Tensor) -> Tensor:
        """Multiply by a factor of the inputs."""
        return apart(side_by_side(tensor, self.folds) * scale, self.folds)

    def add_scaled_(self, out: Tensor, tensor: Tensor, scale: Tensor) -> Tensor:
        """Add what `scaled` gives to `out`, in place where that is possible."""
        total = side_by_side(out, self.folds)
        return apart(total.addcmul_(side_by_side(tensor, self.folds), scale), self.folds)


def side_by_side(tensor: Tensor, folds: int) -> Tensor:
    """Arrange (B F, C, ..) as (B, F C, ..); a view where channels come before places."""
    return tensor.reshape(-1, folds * tensor.shape[1], *tensor.shape[2:])


def apart(tensor: Tensor, folds: int) -> Tensor:
    """Arrange (B, F C, ..) as (B F, C, ..); no view, which a network could not change in place."""
    channels = tensor.shape[1] // folds
    shape = [len(tensor) * folds, channels, *tensor.shape[2:]]
    return torch.ops.aten._unsafe_view(tensor.contiguous(), shape)


def flat(tensor: Tensor | None) -> Tensor | None:
    """Put the numbers of all batches in a row, shape (F, C) -> (F C,)."""
    return None if tensor is None else tensor.reshape(-1)
