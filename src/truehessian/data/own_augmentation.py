"""Augmentation by a function of the user's own, of one example at a time.

The function takes the inputs of an example as they are kept (an image as bytes (C, H, W), or a tree
of tensors) and a generator of the CPU, from which it draws whatever is random. It gives inputs of
the same shapes and types.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from truehessian import streams, text
from truehessian.registry import imported

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from truehessian.data.examples import Examples

Augment = Callable[[Any, "torch.Generator"], Any]


def named(path: str | None) -> Augment | None:
    """Import a function "package.module:function"; None stays None.

    Raises
    ------
    ValueError
        It cannot be imported, or is no function.
    """
    if path is None:
        return None
    found = imported(path, "augmentation")
    if not callable(found):
        raise ValueError(f"augmentation {path} is a {type(found).__name__} and not a function")
    function: Augment = found
    return function


def augmented(examples: "Examples", factor: int, function: Augment, *, seed: int) -> "Examples":
    """Make a fixed set of factor * N examples of N, and keep it.

    Example `copy * N + position` is the copy numbered `copy` (from 0) of the one at `position`. It
    depends on the seed, the position and the copy alone, so that the set with a smaller factor is
    the beginning of the set with a larger one.

    Parameters
    ----------
    examples
        The N originals, of any kind.
    factor
        Copies per original.
    function
        See above; it is called once for each copy, on the CPU.
    seed
        Decides the draws.

    Raises
    ------
    ValueError
        `factor` is below 1, or the function fails or gives inputs of other shapes or types.
    """
    from truehessian.data import trees

    if factor < 1:
        raise ValueError(f"the augmentation factor must be at least 1, got {factor}")
    count = len(examples)
    copies = [
        transformed(
            examples.inputs,
            function,
            [streams.torch_seed(seed, "own augmented copy", number, i) for i in range(count)],
        )
        for number in range(factor)
    ]
    return replace(
        examples,
        inputs=trees.joined(copies),
        targets=trees.joined([examples.targets] * factor),
    )


def transformed(inputs: Any, function: Augment, seeds: "Sequence[int] | Tensor") -> Any:
    """Apply the function to each example, with a generator of its own.

    Parameters
    ----------
    inputs
        Tree of tensors (N, ...), on any device.
    function
        See above.
    seeds
        N whole numbers.

    Returns
    -------
    Tree
        Structure, shapes, types and device of `inputs`, which are left as they are.

    Raises
    ------
    ValueError
        The function fails, or gives inputs of other shapes or types.
    """
    import torch

    from truehessian.data import trees

    here, made = trees.moved(inputs, "cpu"), []
    for number, seed in enumerate(seeds):
        row = trees.rows(here, slice(number, number + 1))
        example = trees.mapped(row, lambda tensor: tensor[0].clone())
        wanted = _form(example)
        try:
            found = function(example, torch.Generator().manual_seed(int(seed)))
        except Exception as error:
            raise ValueError(
                f"the augmentation {_name(function)} fails for inputs of {wanted} "
                f"({text.exception(error)})"
            ) from error
        if _form(found) != wanted:
            raise ValueError(
                f"the augmentation {_name(function)} must give inputs of the shapes and "
                f"types that it gets, {wanted}, and gives {_form(found)}"
            )
        made.append(trees.mapped(found, lambda tensor: tensor.detach()[None]))
    devices = iter([tensor.device for tensor in trees.tensors_of(inputs)])
    return trees.mapped(trees.joined(made), lambda tensor: tensor.to(next(devices)))


def _name(function: Augment) -> str:
    return getattr(function, "__name__", repr(function))


def _form(tree: Any) -> str:
    """Write structure, shapes and types for comparison and for a sentence."""
    from torch import Tensor

    from truehessian.data import trees

    return " and ".join(
        f"{name} {leaf.dtype} {tuple(leaf.shape)}".strip()
        if isinstance(leaf, Tensor)
        else f"{name} {type(leaf).__name__}".strip()
        for name, leaf in trees.named(tree)
    )
