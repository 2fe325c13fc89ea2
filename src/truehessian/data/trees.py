"""Nested tuples, lists and mappings of tensors, which examples, outputs and targets may be.

A tree is a tensor, or a tuple, list or mapping of trees. Where it holds examples, the first axis of
each of its tensors counts them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from truehessian.data.about import named

Tree: TypeAlias = Any


def tensors_of(tree: Tree) -> list[Tensor]:
    """List the tensors of a tree, in order; what is no tensor is left out."""
    return [leaf for _, leaf in named(tree) if isinstance(leaf, Tensor)]


def mapped(tree: Tree, function: Callable[[Tensor], Any]) -> Tree:
    """Apply a function to the tensors of a tree; mappings become dictionaries."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: mapped(value, function) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        branches = [mapped(value, function) for value in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)
    return tree


def count(tree: Tree) -> int:
    """Count the examples of a tree."""
    return len(tensors_of(tree)[0])


def rows(tree: Tree, index: slice | Tensor) -> Tree:
    """Take some examples; an index on another device is brought to each tensor's."""

    def take(tensor: Tensor) -> Tensor:
        return tensor[index if isinstance(index, slice) else index.to(tensor.device)]

    return mapped(tree, take)


def split(tree: Tree, sizes: int | Sequence[int]) -> Iterator[Tree]:
    """Cut examples into pieces of a size, the last one short, or of given sizes."""
    if isinstance(sizes, int):
        whole, rest = divmod(count(tree), sizes)
        sizes = [sizes] * whole + [rest] * bool(rest)
    begin = 0
    for size in sizes:
        yield rows(tree, slice(begin, begin + size))
        begin += size


def joined(trees: Sequence[Tree]) -> Tree:
    """Put the examples of trees of one structure one after another."""
    parts = [iter(tensors_of(tree)) for tree in trees]
    return mapped(trees[0], lambda _: torch.cat([next(part) for part in parts]))


def moved(tree: Tree, device: str | torch.device) -> Tree:
    """Copy to a device (nothing is copied if all is there)."""
    return mapped(tree, lambda tensor: tensor.to(device))


def cast(tree: Tree, dtype: torch.dtype) -> Tree:
    """Bring real numbers into a precision; whole ones stay what they are."""
    return mapped(tree, lambda t: t.to(dtype) if t.is_floating_point() else t)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def shapes(tree: Tree) -> str:
    """Write the shapes of a tree's tensors for a sentence: `(2, 3)`, `x (2, 3) and y (2,)`."""
    parts = [
        f"{name} {tuple(leaf.shape)}".strip() if isinstance(leaf, Tensor) else type(leaf).__name__
        for name, leaf in named(tree)
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def described(inputs: Tree) -> str:
    """Describe inputs for a sentence: how they are given to a network, their shapes and types."""
    kinds = ", ".join(str(tensor.dtype) for tensor in tensors_of(inputs))
    given = ""
    if isinstance(inputs, Mapping):
        given = f", given by the keys {', '.join(map(repr, inputs))}"
    elif isinstance(inputs, tuple | list):
        given = ", given by position"
    return f"inputs of shape {shapes(inputs)} and type {kinds}{given}"


def passed(model: Callable[..., Any], inputs: Tree) -> Any:
    """Call a network: `model(**inputs)` with a mapping, `model(*inputs)` with a tuple or list."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)
