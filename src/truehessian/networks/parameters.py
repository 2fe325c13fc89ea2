"""Parameters of a network by all of their names, and which of them patterns choose."""

import fnmatch
import glob
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from truehessian.registry import nearest

if TYPE_CHECKING:
    from torch import nn

# Words for patterns: of the parameters that require gradients, and of a group for each layer.
TRAINABLE = "trainable"
LAYERS = "layers"
# The group of parameters that are of no layer but of the network itself.
_NETWORK = "(network)"


def named(model: "nn.Module") -> "list[tuple[tuple[str, ...], nn.Parameter]]":
    """List each parameter once with all of its names, in the order of the model."""
    names: dict[int, list[str]] = {}
    parameters: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        parameters[id(parameter)] = parameter
    return [(tuple(own), parameters[key]) for key, own in names.items()]


def can_vary(parameter: "nn.Parameter") -> bool:
    """Whether there is a derivative by it: whole numbers have none."""
    return parameter.is_floating_point() or parameter.is_complex()


def are_chosen(names: Iterable[str], patterns: Sequence[str] | None) -> bool:
    """Whether any of a parameter's names matches any pattern, as in ``fnmatch``; None takes all."""
    return patterns is None or any(
        fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns
    )


def trainable(model: "nn.Module") -> list[str]:
    """Give patterns that match those parameters of a model that require gradients, exactly.

    Raises
    ------
    ValueError
        There is none.
    """
    patterns = [glob.escape(names[0]) for names, each in named(model) if each.requires_grad]
    if not patterns:
        raise ValueError(
            f"parameters: {TRAINABLE} leaves none, since no parameter of the model requires a "
            "gradient; name some by patterns, or leave the setting out for all of them"
        )
    return patterns


def layers(parameters: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """Make a group of patterns for each module that owns parameters itself, in their order.

    Parameters
    ----------
    parameters
        All names of each; the first one says which module it is of.

    Returns
    -------
    dict
        Patterns by the module's name, `(network)` for the network itself.
    """
    groups: dict[str, list[str]] = {}
    for names in parameters:
        module = names[0].rpartition(".")[0]
        groups.setdefault(module or _NETWORK, []).append(glob.escape(names[0]))
    return groups


def grouped(
    parameters: Sequence[Sequence[str]], groups: Mapping[str, Sequence[str]] | str
) -> dict[str, list[int]]:
    """Sort parameters into groups by patterns of their names.

    Parameters
    ----------
    parameters
        All names of each.
    groups
        Patterns as in ``fnmatch`` by the group's name, or `layers` for a group of each layer.

    Returns
    -------
    dict
        Positions in `parameters` by the group's name, ascending. Some may be in no group.

    Raises
    ------
    TypeError
        A group has something other than a sequence of patterns.
    ValueError
        There is no group, one matches nothing, or two share a parameter.
    """
    if groups == LAYERS:
        groups = layers(parameters)
    if isinstance(groups, str) or not groups:
        raise ValueError(
            f"groups must be patterns of parameters by name, or {LAYERS!r}, got {groups!r}"
        )
    owner: dict[int, str] = {}
    found: dict[str, list[int]] = {}
    for group, patterns in groups.items():
        if isinstance(patterns, str):
            raise TypeError(
                f"the group {group!r} must have a sequence of patterns, got the text "
                f"{patterns!r}; write [{patterns!r}]"
            )
        found[group] = [
            place for place, names in enumerate(parameters) if are_chosen(names, patterns)
        ]
        if not found[group]:
            raise ValueError(_no_member(group, patterns, parameters))
        for place in found[group]:
            if place in owner:
                raise ValueError(
                    f"the groups {owner[place]!r} and {group!r} share the parameter "
                    f"{parameters[place][0]!r}, and groups must not overlap; make the patterns of "
                    "one narrower"
                )
            owner[place] = group
    return found


def _no_member(group: str, patterns: Sequence[str], parameters: Iterable[Sequence[str]]) -> str:
    known = [name for names in parameters for name in names]
    near = next(filter(None, (nearest(pattern, known) for pattern in patterns)), None)
    hint = near or f"; the network has {', '.join(known)}"
    return f"no parameter matches {list(patterns)} of the group {group!r}{hint}"
