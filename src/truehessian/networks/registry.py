"""Networks by name, from a library, or by the import path of a user's own factory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from truehessian import text
from truehessian.data import trees
from truehessian.data.about import Shape, as_tuples, is_shape, names_in
from truehessian.data.seeding import seeded
from truehessian.networks import NETWORKS, factories
from truehessian.networks.libraries import LIBRARIES
from truehessian.networks.losses.base import logits_of

_OF_IMAGES = ("torchvision", "timm")  # libraries whose networks take one tensor


def build(
    name: str,
    *,
    num_classes: int,
    input_shape: Shape,
    input_dtypes: Any = None,
    seed: int | None = None,
    **arguments: Any,
) -> nn.Module:
    """Make a network.

    Parameters
    ----------
    name
        One of `NETWORKS` ("vgg", "preresnet", "mlp"); or one of `LIBRARIES` with the name that it
        has for the network, such as "torchvision:resnet18"; or an import path
        "package.module:factory". The factory is called with `num_classes` and `input_shape` (a
        tuple, or a tuple or mapping of tuples), if it takes them, and the arguments, and returns a
        module. Lazy layers get their shapes by a forward pass.
    num_classes
        Number of outputs.
    input_shape
        Of one example: (channels, height, width) of an image; a tuple or mapping of shapes for
        networks that are called by position or by name.
    input_dtypes
        Names of types such as "int64" in the same structure; None for real numbers throughout.
    seed
        Of the initialisation; the global generators of PyTorch, NumPy and Python are then left as
        they were. None draws from them.
    **arguments
        Passed on; see the networks' own docstrings.

    Raises
    ------
    ValueError
        The name is unknown, an argument is unknown or missing, or a value is not allowed; or a
        library is not installed, or weights are asked of it; or the import path leads to no module,
        to no attribute of one, or to something that does not make an `nn.Module`; or lazy layers
        cannot be given their shapes.
    """
    _check_inputs(name, input_shape, input_dtypes)
    values = {"num_classes": num_classes, "input_shape": as_tuples(input_shape), **arguments}
    with seeded(seed, "initialisation"):
        model = factories.call(name, _factory(name), values)
        factories.materialise(name, model, input_shape, input_dtypes)
    return model


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters: the order P of the Hessian."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def has_batch_norm(model: nn.Module) -> bool:
    """Tell whether any layer normalises over the batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def check_output(
    model: nn.Module,
    name: str,
    *,
    num_classes: int,
    input_shape: Shape,
    input_dtypes: Any = None,
    **_: Any,
) -> None:
    """Refuse a network of a library that does not map the inputs to that many logits.

    It does a forward pass of one example of zeros, in evaluation mode. Whoever writes a factory has
    the shapes in hand, so nothing is asked of other networks.

    Raises
    ------
    ValueError
        The pass fails, or gives something else: of images logits (1, num_classes) are wanted, of
        other inputs logits (1, ...) with at least as many along the last axis.
    """
    if not _is_of_library(name):
        return
    remedy = "give it arguments that suit them, or write a function that makes it so and name that"
    inputs = factories.example(input_shape, input_dtypes)
    are_images = isinstance(inputs, torch.Tensor) and inputs.ndim == 4
    what = f"{'images' if are_images else 'inputs'} of shape {trees.shapes(_first(inputs))}"
    try:
        with torch.no_grad():
            outputs = trees.passed(model.eval(), inputs)
    except Exception as error:
        raise ValueError(
            f"model {name} does not take {what} ({text.exception(error)}); {remedy}"
        ) from error
    logits = logits_of(outputs)
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(outputs).__name__
    suits = isinstance(found, tuple) and len(found) > 1 and found[-1] >= num_classes
    if found != (1, num_classes) and (are_images or not suits):
        wanted = (1, num_classes) if are_images else f"(1, ..., {num_classes})"
        raise ValueError(
            f"model {name} has to map {'an image' if are_images else 'an example'} to logits of "
            f"shape {wanted}, but gives {found}; {remedy}"
        )


def _first(inputs: trees.Tree) -> trees.Tree:
    """Without sizes of tensors, their first rows: those are of the shapes of one example."""
    return trees.mapped(inputs, lambda tensor: tensor[0])


def _check_inputs(name: str, input_shape: Shape, input_dtypes: Any) -> None:
    """Refuse inputs of several tensors for networks that take one."""
    library = name.partition(":")[0]
    if name not in NETWORKS and library not in _OF_IMAGES:
        return
    if not is_shape(input_shape) or not all("float" in each for each in names_in(input_dtypes)):
        raise ValueError(
            f"model {name} takes one tensor of real numbers, and the data have "
            f"{trees.described(factories.example(input_shape, input_dtypes))}; name a network that "
            "takes these, such as one of your own"
        )


def _is_of_library(name: str) -> bool:
    return ":" in name and name.partition(":")[0] in LIBRARIES


def _factory(name: str) -> Callable[..., Any]:
    if _is_of_library(name):
        library, _, inner = name.partition(":")
        factory: Callable[..., Any] = LIBRARIES.load(library).factory(inner)
        return factory
    return factories.find(name) if ":" in name else NETWORKS.load(name)
