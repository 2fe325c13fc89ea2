"""Factories of networks: found by import path, and called with what they take."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from truehessian import text
from truehessian.data import trees
from truehessian.data.about import Shape, as_tuples, is_shape
from truehessian.data.trees import Tree
from truehessian.networks.wrappers import unwrapped
from truehessian.registry import imported, nearest

# Given to every factory that takes them; the rest comes from the configuration.
_GIVEN = ("num_classes", "input_shape")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def find(name: str) -> Callable[..., Any]:
    """Import what an import path "package.module:factory" names.

    Raises
    ------
    ValueError
        The module cannot be imported, or has no such factory.
    """
    factory = imported(name, "model")
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ValueError(
            f"model {name} is a {type(factory).__name__} and not a function that makes a network"
        )
    return factory


def call(name: str, factory: Callable[..., Any], values: Mapping[str, Any]) -> nn.Module:
    """Call a factory with the values that it takes, and take its network out of wrappers.

    Training, checkpoints and names of parameters are then those of the network itself; see
    `wrappers.unwrapped`.

    Parameters
    ----------
    name
        Of the network, for errors.
    factory
        A function or class. It need not take `num_classes` and `input_shape`, but everything else.
    values
        By the names of its arguments.

    Raises
    ------
    ValueError
        It does not take a value, needs another one, or does not make an `nn.Module`.
    """
    positional, named = _arguments(name, factory, values)
    try:
        model = factory(*positional, **named)
    except TypeError as error:
        # Of a network behind a factory that takes anything and hands it on.
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found is None or found[1] not in values:
            raise
        raise ValueError(
            f"model {name} does not take {found[1]} ({error}); write a function that takes "
            f"{' and '.join(_GIVEN)} and makes the network, and name that"
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model {name} has to make a torch.nn.Module, but made a {type(model).__name__}"
        )
    return unwrapped(model)


def example(input_shape: Shape, input_dtypes: Any = None) -> Tree:
    """Make one example of zeros, (1, ...), of these shapes and types (see `registry.build`)."""
    if is_shape(input_shape):
        dtype = torch.float32 if input_dtypes is None else getattr(torch, input_dtypes)
        return torch.zeros(
            1, *input_shape, dtype=torch.float32 if dtype.is_floating_point else dtype
        )
    if isinstance(input_shape, Mapping):
        dtypes = input_dtypes or dict.fromkeys(input_shape)
        return {key: example(shape, dtypes[key]) for key, shape in input_shape.items()}
    dtypes = input_dtypes or [None] * len(input_shape)
    return tuple(example(*pair) for pair in zip(input_shape, dtypes, strict=True))


def materialise(name: str, model: nn.Module, input_shape: Shape, input_dtypes: Any = None) -> None:
    """Give lazy layers their shapes by a forward pass of one example of zeros, not as in training.

    Raises
    ------
    ValueError
        The pass fails.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if not any(map(nn.parameter.is_lazy, tensors)):
        return
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            trees.passed(model.eval(), example(input_shape, input_dtypes))
    except Exception as error:
        raise ValueError(
            f"model {name} has lazy layers, whose shapes cannot be found by a forward pass of "
            f"{of_shape(input_shape)} ({text.exception(error)})"
        ) from error
    for module, training in modes.items():
        module.training = training


def of_shape(input_shape: Shape) -> str:
    """Describe an example for a sentence by its shape."""
    shape = as_tuples(input_shape)
    if is_shape(shape):
        return f"{'an image' if len(shape) == 3 else 'an example'} of shape {shape}"
    return f"an example of shapes {shape}"


def _arguments(
    name: str, factory: Callable[..., Any], values: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Share values among positional and named arguments of a factory."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # written in C
        return [], dict(values)
    known = [p.name for p in parameters if p.kind not in _VARIADIC]
    named = dict(values)
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        named = {key: value for key, value in values.items() if key in known or key not in _GIVEN}
        _check_known(name, known, named)
    lacking = [
        p.name
        for p in parameters
        if p.kind not in _VARIADIC and p.default is p.empty and p.name not in named
    ]
    if lacking:
        raise ValueError(
            f"model {name} needs {', '.join(lacking)}; it is called with {', '.join(_GIVEN)} and "
            "the keys of the model section, so add them there or rename its arguments"
        )
    first = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    return [named.pop(p.name, p.default) for p in first], named


def _check_known(name: str, known: Sequence[str], values: Mapping[str, Any]) -> None:
    own = sorted(set(known) - set(_GIVEN))
    for argument in values:
        if argument not in known:
            takes = ", ".join(own) if own else "no arguments of its own"
            raise ValueError(
                f"model {name} takes {takes}, got {argument!r}{nearest(argument, own)}"
            )
