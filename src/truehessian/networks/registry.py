"""Networks by name, from a library, or by the import path of a user's own factory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from truehessian import text
from truehessian.networks import NETWORKS, factories
from truehessian.networks.libraries import LIBRARIES


def build(
    name: str,
    *,
    num_classes: int,
    input_shape: Sequence[int],
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
        tuple), if it takes them, and the arguments, and returns a module. Lazy layers get their
        shapes by a forward pass.
    num_classes
        Number of outputs.
    input_shape
        (channels, height, width).
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
    values = {"num_classes": num_classes, "input_shape": tuple(input_shape), **arguments}
    with factories.seeded(seed):
        model = factories.call(name, _factory(name), values)
        factories.materialise(name, model, input_shape)
    return model


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters: the order P of the Hessian."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def has_batch_norm(model: nn.Module) -> bool:
    """Tell whether any layer normalises over the batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def check_output(
    model: nn.Module, name: str, *, num_classes: int, input_shape: Sequence[int], **_: Any
) -> None:
    """Refuse a network of a library that does not map the images to that many logits.

    It does a forward pass of one image of zeros, in evaluation mode. Whoever writes a factory has
    the shapes in hand, so nothing is asked of other networks.

    Raises
    ------
    ValueError
        The pass fails, or gives something else.
    """
    if not _is_of_library(name):
        return
    shape = tuple(input_shape)
    remedy = "give it arguments that suit them, or write a function that makes it so and name that"
    try:
        with torch.no_grad():
            outputs = model.eval()(torch.zeros(1, *shape))
    except Exception as error:
        raise ValueError(
            f"model {name} does not take images of shape {shape} ({text.exception(error)}); "
            f"{remedy}"
        ) from error
    found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if found != (1, num_classes):
        raise ValueError(
            f"model {name} has to map an image to logits of shape {(1, num_classes)}, but gives "
            f"{found}; {remedy}"
        )


def _is_of_library(name: str) -> bool:
    return ":" in name and name.partition(":")[0] in LIBRARIES


def _factory(name: str) -> Callable[..., Any]:
    if _is_of_library(name):
        library, _, inner = name.partition(":")
        factory: Callable[..., Any] = LIBRARIES.load(library).factory(inner)
        return factory
    return factories.find(name) if ":" in name else NETWORKS.load(name)
