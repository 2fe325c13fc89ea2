"""Nested tuples, lists and mappings of tensors, which networks give and losses take."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def tensors_of(tree: Any) -> list[Tensor]:
    """List the tensors of a tree, in order; what is no tensor is left out."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, tuple | list):
        return [tensor for branch in tree for tensor in tensors_of(branch)]
    return []


def mapped(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to the tensors of a tree; mappings become dictionaries."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: mapped(value, function) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        branches = [mapped(value, function) for value in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)
    return tree


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
