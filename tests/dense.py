"""Matrices that are written down, by nothing but autograd, for tests of those that are not."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase as fnmatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from truehessian.operators import Operator

Loss = Callable[[Any, Tensor], Tensor]
_OPTIONS = {"allow_unused": True, "materialize_grads": True}


@contextmanager
def in_double_precision() -> Iterator[None]:
    """Make what a network makes on the way in float64, and attention by its definition."""
    torch.set_default_dtype(torch.float64)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def prepared(model: nn.Module) -> tuple[nn.Module, list[Tensor]]:
    """A copy in float64 and eval mode, and its parameters, frozen ones too."""
    model = copy.deepcopy(model).double().eval()
    return model, [p.requires_grad_() for p in model.parameters()]


def some_vectors(num_params: int, count: int = 6) -> Tensor:
    """Random columns (P, count), float64: matrices whose products with them are the same differ by
    a matrix whose null space they lie in, which for any but zero has probability zero.
    """
    generator = torch.Generator().manual_seed(17)
    return torch.randn(num_params, count, generator=generator, dtype=torch.float64)


def flat(parts: Any) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def dense_hessian(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = F.cross_entropy
) -> Tensor:
    """The Hessian in the order of the parameters, row by row: torch.func, which batches rows, gives
    no symmetric matrix with LayerNorm.
    """
    model, leaves = prepared(model)
    with in_double_precision():
        value = loss(model(inputs), targets)
        gradient = torch.autograd.grad(value, leaves, create_graph=True, **_OPTIONS)
    rows = [
        torch.autograd.grad(entry, leaves, retain_graph=True, **_OPTIONS)
        if entry.requires_grad
        else [torch.zeros_like(leaf) for leaf in leaves]
        for entry in flat(gradient)
    ]
    return torch.stack([flat(row) for row in rows])


def dense_gradient(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = F.cross_entropy
) -> Tensor:
    model, leaves = prepared(model)
    with in_double_precision():
        value = loss(model(inputs), targets)
        return flat(torch.autograd.grad(value, leaves, **_OPTIONS))


def dense_fisher(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = F.cross_entropy
) -> Tensor:
    """The mean of g gᵀ over examples, one after the other."""
    pairs = zip(inputs.split(1), targets.split(1), strict=True)
    gradients = torch.stack([dense_gradient(model, x, y, loss) for x, y in pairs])
    return gradients.T @ gradients / len(targets)


def dense_ggn(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = F.cross_entropy
) -> Tensor:
    """Jᵀ W J averaged over examples, with the Hessian W of the loss of each by its outputs."""
    jacobian = dense_jacobian(model, inputs)  # (N, .., P)
    with torch.no_grad(), in_double_precision():
        outputs = prepared(model)[0](inputs)
    total = torch.zeros(jacobian.shape[-1], jacobian.shape[-1], dtype=torch.float64)
    for rows, own, target in zip(jacobian, outputs, targets.split(1), strict=True):
        weight = torch.autograd.functional.hessian(
            lambda z, target=target: loss(z[None], target), own
        )
        rows = rows.flatten(0, -2)
        total += rows.T @ weight.reshape(len(rows), len(rows)) @ rows
    return total / len(targets)


def dense_jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """The Jacobian of the outputs, (N, .., P), one backward pass per number."""
    model, leaves = prepared(model)
    with in_double_precision():
        outputs = model(inputs)
    rows = [
        flat(torch.autograd.grad(entry, leaves, retain_graph=True, **_OPTIONS))
        for entry in outputs.reshape(-1)
    ]
    return torch.stack(rows).view(*outputs.shape, -1)


def block_diagonal(matrix: Tensor, model: nn.Module, groups: Any) -> Tensor:
    """Zeros wherever the parameters of row and column are not of one group of patterns."""
    owners = []
    for name, parameter in model.named_parameters():
        own = [g for g, patterns in groups.items() if any(fnmatch(name, p) for p in patterns)]
        owners += (own or [""]) * parameter.numel()
    numbers = torch.tensor([[*groups, ""].index(owner) for owner in owners])
    same = (numbers[:, None] == numbers) & (numbers < len(groups))
    return matrix * same


class Dense(Operator):
    """A matrix that is written down."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(len(matrix), torch.float64, torch.device("cpu"))
        self.matrix = matrix

    def matmat(self, block: Tensor) -> Tensor:
        return block @ self.matrix

    def describe(self) -> dict[str, Any]:
        return {"operator": "dense", "num_parameters": self.num_params}
