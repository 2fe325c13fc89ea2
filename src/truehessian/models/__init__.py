"""Networks by name, or by the import path of a user's own factory."""

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from truehessian.models.mlp import MLP
from truehessian.models.preresnet import PreResNet
from truehessian.models.vgg import VGG

BUILT_IN: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "preresnet": PreResNet, "vgg": VGG}


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
        "vgg", "preresnet", "mlp", or an import path "package.module:factory". The factory is called
        with `num_classes`, `input_shape` (a tuple) and the arguments, and returns a module.
    num_classes
        Number of outputs.
    input_shape
        (channels, height, width).
    seed
        Of the initialisation; PyTorch's global generator is then left as it was. None draws from
        it.
    **arguments
        Passed on; see the networks' own docstrings.

    Raises
    ------
    ValueError
        The name is unknown, an argument is, or a value is not allowed; or the import path leads to
        no module, to no attribute of one, or to something that does not make an `nn.Module`.
    """
    factory = _factory(name)
    if name in BUILT_IN:
        _check_arguments(name, factory, arguments)
    with _seeded(seed):
        model = factory(num_classes=num_classes, input_shape=tuple(input_shape), **arguments)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model {name} has to make a torch.nn.Module, but made a {type(model).__name__}"
        )
    return model


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters: the order P of the Hessian."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def has_batch_norm(model: nn.Module) -> bool:
    """Tell whether any layer normalises over the batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _factory(name: str) -> Callable[..., Any]:
    if name in BUILT_IN:
        return BUILT_IN[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(
            f"model must be one of {', '.join(sorted(BUILT_IN))} or an import path "
            f"'package.module:factory', got {name!r}{_nearest(name, list(BUILT_IN))}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"model {name}: cannot import {module_name} ({error}); install it or put its "
            "folder on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise ValueError(
            f"model {name}: module {module_name} has no {attribute!r}"
            f"{_nearest(attribute, dir(module))}"
        )
    return getattr(module, attribute)


def _check_arguments(name: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> None:
    known = sorted(set(inspect.signature(factory).parameters) - {"num_classes", "input_shape"})
    for argument in arguments:
        if argument not in known:
            raise ValueError(
                f"model {name} takes {', '.join(known)}, got {argument!r}"
                f"{_nearest(argument, known)}"
            )


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
        yield
