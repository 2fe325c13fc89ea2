"""What a loss is: a mean over examples, which may count with weights."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from truehessian import text
from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.losses import LOSSES
from truehessian.registry import nearest

Loss = Callable[[Any, Any], Tensor]


@runtime_checkable
class WeightedLoss(Protocol):
    """A mean over examples that count with weights: sum_i w_i l_i / sum_i w_i."""

    def __call__(self, outputs: Any, targets: Tree) -> Tensor:
        """Give the weighted mean over the examples given, one number."""

    def weights(self, targets: Tree) -> Tensor | None:
        """Give the weight w_i of each example, shape (B,), float64, from 0 on; None for all 1."""


def of_settings(settings: str | Mapping[str, Any]) -> Loss:
    """Make a loss as a configuration says: by its name, or a mapping of name and arguments.

    Raises
    ------
    ValueError
        As `made`.
    """
    if isinstance(settings, str):
        return made(settings)
    return made(settings["name"], {k: v for k, v in settings.items() if k != "name"})


def made(name: str, arguments: Mapping[str, Any] | None = None) -> Loss:
    """Make a loss by its name.

    Parameters
    ----------
    name
        One of `LOSSES`, or an import path "package.module:loss" of a function of outputs and
        targets, or of a class of such.
    arguments
        Of the class; or of the function, beside outputs and targets.

    Raises
    ------
    ValueError
        The name is unknown, or is that of no loss; or the loss does not take the arguments.
    """
    found, arguments = LOSSES.load(name), dict(arguments or {})
    if isinstance(found, type):
        _check_arguments(name, found, arguments, given=0)
        try:
            found = found(**arguments)
        except Exception as error:  # of a class of the user's own
            reason = str(error) if isinstance(error, ValueError) else text.exception(error)
            raise ValueError(f"loss {name}: {reason}") from error
        arguments = {}
    if not callable(found):
        raise ValueError(
            f"loss {name} is a {type(found).__name__} and not a function of outputs and targets"
        )
    _check_arguments(name, found, arguments, given=2)
    if not arguments:
        loss: Loss = found
        return loss
    if not inspect.isroutine(found):
        raise ValueError(f"loss {name} is made already, with its arguments; name its class instead")
    return functools.update_wrapper(functools.partial(found, **arguments), found)


def name_of(loss: Any) -> str:
    """Call a loss by its name, and a partial function by that of the whole."""
    if isinstance(loss, functools.partial):
        return name_of(loss.func)
    return getattr(loss, "__name__", type(loss).__name__)


def logits_of(outputs: Any) -> Any:
    """Take the logits from a mapping that has some, as networks of transformers give it."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    return outputs


def check_weights(loss: Loss, weights: Any, targets: Tree) -> Tensor:
    """Refuse weights of examples that are none, and give them in float64, shape (B,).

    Raises
    ------
    ValueError
        They are not one number from 0 on for each example.
    """
    count = trees.count(targets)
    if not isinstance(weights, Tensor) or weights.shape != (count,):
        found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(
            f"the loss {name_of(loss)} must give the weights of {count} examples as a "
            f"tensor of shape ({count},), got {found}"
        )
    weights = weights.detach().double()
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError(
            f"the loss {name_of(loss)} must give each example a weight from 0 on, got "
            f"{weights.min().item():g}"
        )
    return weights


def nothing_counts(loss: Loss) -> ValueError:
    """Say that there is no mean over examples none of which has a weight."""
    return ValueError(
        f"no example counts in the loss {name_of(loss)}, such as where all targets are ignored"
    )


def check_factors(key: str, factors: Sequence[float] | Tensor | None) -> None:
    """Refuse factors of classes or labels that are no numbers from 0 on.

    Raises
    ------
    ValueError
        They are not.
    """
    try:
        numbers = torch.as_tensor(0.0 if factors is None else factors, dtype=torch.float64)
        right = bool(((numbers >= 0) & numbers.isfinite()).all())
    except (TypeError, ValueError, RuntimeError):
        right = False
    if not right:
        raise ValueError(f"{key} must be one number from 0 on for each class, got {factors}")


def check_index(index: int | None) -> None:
    """Refuse the number of a target that does not count if it is no whole one.

    Raises
    ------
    ValueError
        It is not.
    """
    if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
        raise ValueError(f"ignore_index must be a whole number, got {index!r}")


def as_weights(weight: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """Bring weights of classes to the device and precision of a tensor."""
    return torch.as_tensor(weight, dtype=like.dtype, device=like.device)


def _check_arguments(name: str, loss: Any, values: Mapping[str, Any], *, given: int) -> None:
    """Refuse arguments that are unknown or lacking beside the first ones, which are given."""
    try:
        signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except (TypeError, ValueError):  # written in C
        return
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < given and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(f"loss {name} must take outputs and targets, but takes {signature}")
    own = [
        p
        for p in parameters
        if p not in positional[:given] and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    known = [p.name for p in own]
    for argument in values:
        if argument not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            takes = ", ".join(known) if known else "no arguments"
            hint = nearest(argument, known)
            raise ValueError(f"loss {name} takes {takes}, got {argument!r}{hint}")
    lacking = [p.name for p in own if p.default is p.empty and p.name not in values]
    if lacking:
        raise ValueError(f"loss {name} needs {', '.join(lacking)}; give it beside the name")
