"""What the libraries of networks have in common."""

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from types import ModuleType
from typing import Any

from torch import nn

from truehessian import text
from truehessian.networks.libraries.library import absence
from truehessian.registry import nearest


def imported(library: str, name: str) -> ModuleType:
    """Import a library.

    Raises
    ------
    ValueError
        It is not installed, or does not work.
    """
    lacking = absence(library, name)
    if lacking is not None:
        raise ValueError(lacking)
    try:
        return importlib.import_module(library)
    except Exception as error:  # such as of versions that do not go together
        raise ValueError(
            f"model {library}:{name}: importing {library} fails ({text.exception(error)}); "
            "install a version of it that goes with PyTorch and whatever else is installed"
        ) from error


def check_known(library: str, name: str, known: Collection[str]) -> None:
    """Refuse the name of a network that a library does not have, with the nearest that it has."""
    if name not in known:
        raise ValueError(
            f"model {library}:{name}: {library} has no network of this name for the classification "
            f"of images{nearest(name, list(known)) or nearest(name.lower(), list(known))}"
        )


def without_weights(name: str, arguments: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Give the arguments without those by which weights would be fetched.

    Raises
    ------
    ValueError
        One of these asks for weights.
    """
    keys = set(keys)
    for key in sorted(keys & arguments.keys()):
        if arguments[key]:
            raise ValueError(
                f"model {name} takes no {key}, because weights come from training or from files; "
                "save their state dict and name the file under `checkpoints`"
            )
    return {key: value for key, value in arguments.items() if key not in keys}


def made(name: str, make: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """Call what a library makes its networks by.

    Raises
    ------
    ValueError
        It does not take the arguments.
    """
    try:
        return make(**arguments)
    except TypeError as error:
        raise ValueError(
            f"model {name} cannot be made with the arguments {', '.join(arguments)} "
            f"({text.exception(error)}); the keys of the model section are handed on, so give "
            "those that it takes"
        ) from error
