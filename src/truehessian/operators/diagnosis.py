"""Sentences for what networks and losses do that curvature cannot be had of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from truehessian.data.trees import all_finite, tensors_of


class ComputationError(RuntimeError):
    """A network or a loss fails on what it is given; the sentence says where and why."""


def words(error: BaseException) -> str:
    """Give the first line of an error, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def place_of(error: BaseException, model: nn.Module) -> str:
    """Name the innermost layer that an error has gone through: ``, in the layer 'x' (Linear)``."""
    names = {id(module): name for name, module in model.named_modules()}
    found = ""
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            found = f", in {_named(names[id(owner)], owner)}"
        trace = trace.tb_next
    return found


class Call(NamedTuple):
    """One layer, and what it was called with."""

    name: str
    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def culprit(
    model: nn.Module, forward: Callable[[], Any], is_at_fault: Callable[[Call], bool]
) -> str:
    """Name the innermost layer at fault: ``the layer 'x' (Linear)``, or "" if none is.

    Parameters
    ----------
    model
        The network.
    forward
        Passes examples through it.
    is_at_fault
        Tries one layer by itself, with the arguments that it had.
    """
    calls: dict[str, Call] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.setdefault(name, Call(name, layer, args, kwargs))

        return note

    handles = [
        module.register_forward_pre_hook(noting(name), with_kwargs=True)
        for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    for name, _ in reversed(list(model.named_modules())):  # children before their parents
        if name in calls and is_at_fault(calls[name]):
            return _named(name, calls[name].layer)
    return ""


def second_derivative(call: Call, count: int = 1) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Differentiate a layer twice, by its parameters and inputs, as plainly as can be.

    Returns
    -------
    directions, products
        `count` flat random directions, and for each the product of the Hessian of half the sum of
        the outputs' squares with it, in parts.
    """
    generator = torch.Generator().manual_seed(0)
    args, kwargs, leaves = _as_leaves(call)
    leaves += [p for p in call.layer.parameters() if p.requires_grad]
    with torch.enable_grad():
        outputs = tensors_of(call.layer(*args, **kwargs))
        total = sum((out.square().sum() for out in outputs if out.requires_grad), torch.zeros(()))
        if not total.requires_grad or not leaves:
            return [], []
        gradient = torch.autograd.grad(
            total, leaves, create_graph=True, allow_unused=True, materialize_grads=True
        )
        directions, products = [], []
        for _ in range(count):
            parts = [torch.randn(leaf.shape, generator=generator).to(leaf) for leaf in leaves]
            slope = sum(((g * v).sum() for g, v in zip(gradient, parts, strict=True)))
            assert isinstance(slope, Tensor)
            if not slope.requires_grad:
                return [], []
            second = torch.autograd.grad(
                slope, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            directions.append(torch.cat([part.reshape(-1) for part in parts]))
            products.append([part.reshape(-1) for part in second])
    return directions, products


def has_none(call: Call) -> bool:
    """Whether a layer by itself cannot be differentiated twice."""
    try:
        second_derivative(call)
    except Exception:
        return True
    return False


def is_not_finite(call: Call) -> bool:
    """Whether a layer's second derivative is not finite."""
    try:
        products = second_derivative(call)[1]
    except Exception:
        return False
    return not all_finite(part for parts in products for part in parts)


def is_not_symmetric(call: Call) -> bool:
    """Whether a layer's second derivative is not symmetric."""
    try:
        directions, products = second_derivative(call, 2)
    except Exception:
        return False
    if not products:
        return False
    first, second = (torch.cat(parts) for parts in products)
    scale = max(first.norm().item(), second.norm().item())
    precision = 1e3 * torch.finfo(first.dtype).eps
    gap = abs((first @ directions[1] - second @ directions[0]).item())
    return gap > precision * scale * max(1.0, len(first) ** 0.5)


def _as_leaves(call: Call) -> tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]:
    leaves: list[Tensor] = []

    def own(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            leaves.append(value.detach().clone().requires_grad_(True))
            return leaves[-1]
        return value

    args = tuple(own(value) for value in call.args)
    return args, {name: own(value) for name, value in call.kwargs.items()}, leaves


def _named(name: str, layer: nn.Module) -> str:
    if not name:
        return f"the network's own forward pass ({type(layer).__name__})"
    return f"the layer {name!r} ({type(layer).__name__})"
