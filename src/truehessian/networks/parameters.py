"""Parameters of a network by all of their names, and which of them patterns choose."""

import fnmatch
from collections.abc import Iterable, Sequence

from torch import nn


def named(model: nn.Module) -> list[tuple[tuple[str, ...], nn.Parameter]]:
    """List each parameter once with all of its names, in the order of the model."""
    names: dict[int, list[str]] = {}
    parameters: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        parameters[id(parameter)] = parameter
    return [(tuple(own), parameters[key]) for key, own in names.items()]


def can_vary(parameter: nn.Parameter) -> bool:
    """Whether there is a derivative by it: whole numbers have none."""
    return parameter.is_floating_point() or parameter.is_complex()


def are_chosen(names: Iterable[str], patterns: Sequence[str] | None) -> bool:
    """Whether any of a parameter's names matches any pattern, as in ``fnmatch``; None takes all."""
    return patterns is None or any(
        fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns
    )
