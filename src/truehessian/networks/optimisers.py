"""What the state of an optimiser says of the geometry that it goes by."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_ADAM = "exp_avg_sq"  # that of the squares, which Adam, AdamW and their kin keep


class Adam(NamedTuple):
    """How Adam scales the parameters: its step is -learning_rate m / P with the first moment m.

    Attributes
    ----------
    preconditioner
        The diagonal of P by the names of the parameters, each of its parameter's shape, float64:
        (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + eps) after t steps, v the mean of squares.
    learning_rate, beta1
        Of all parameters.
    """

    preconditioner: dict[str, Tensor]
    learning_rate: float
    beta1: float


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Find the state dict of an optimiser in a file that `torch.save` wrote.

    Parameters
    ----------
    path
        Holds what `optimiser.state_dict()` gives, alone or anywhere in nested mappings, such as
        beside the weights. Read without running any code (`weights_only`).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It cannot be read in this way, or holds no such state or more than one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    how = "save it: torch.save(optimiser.state_dict(), 'optimiser.pt')"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in many ways
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and numbers, which could run code; "
            f"{how}"
        ) from error
    found = list(_states(content))
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} states of optimisers instead of one; {how}")
    return found[0]


def adam(state: Mapping[str, Any], model: nn.Module) -> Adam:
    """Read the geometry of Adam or AdamW off its state.

    Parameters
    ----------
    state
        What `torch.optim.Adam(...).state_dict()` gives; with `amsgrad` the largest mean of squares
        counts. A weight decay has no part in it.
    model
        The network whose parameters it has stepped, for their names. Those of a single group are
        taken in the order of `model.parameters()`; of several groups the state has to hold the
        names, as it does where the optimiser was made of `model.named_parameters()`.

    Returns
    -------
    Adam
        Of the parameters that have been stepped.

    Raises
    ------
    ValueError
        It is the state of another optimiser, or before the first step; groups have no names, or
        differ in their rates; or the parameters are not those of the network.

    References
    ----------
    Kingma & Ba (2015), Adam, ICLR; Cohen et al. (2022), arXiv 2207.14484, for P.
    """
    groups, own = state["param_groups"], state["state"]
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    found = {}
    for name, place in _names(groups, list(shapes)).items():
        moments = own.get(place)
        if moments is None:  # it has had no gradient yet
            continue
        found[name] = _diagonal(moments, _settings(groups))
        if name not in shapes or shapes[name] != found[name].shape:
            raise ValueError(
                f"the optimiser's state for {name} has shape {tuple(found[name].shape)}, and the "
                f"network has {tuple(shapes[name]) if name in shapes else 'no such parameter'}; "
                "give the state that was saved beside these weights"
            )
    if not found:
        raise ValueError("the optimiser has made no step yet, so that it scales nothing")
    settings = _settings(groups)
    return Adam(found, float(settings["lr"]), float(settings["betas"][0]))


def diagonal(preconditioner: Mapping[str, Tensor], names: Sequence[Sequence[str]]) -> Tensor:
    """Put a preconditioner in the order of some parameters, shape (P,), float64.

    Parameters
    ----------
    preconditioner
        As of `Adam`.
    names
        All names of each of them, as `FrozenNetwork.names`.

    Raises
    ------
    ValueError
        One of them has none, because it was never stepped.
    """
    parts = []
    for own in names:
        known = next((name for name in own if name in preconditioner), None)
        if known is None:
            raise ValueError(
                f"the optimiser's state has nothing on {own[0]}, which it has not stepped; "
                "restrict `parameters` to those that it trains, such as trainable"
            )
        parts.append(preconditioner[known].reshape(-1))
    return torch.cat(parts)


def _states(content: Any) -> Iterator[dict[str, Any]]:
    """Go through nested mappings for what an optimiser's state dict looks like."""
    if not isinstance(content, Mapping):
        return
    if isinstance(content.get("param_groups"), list) and isinstance(content.get("state"), Mapping):
        yield dict(content)
        return
    for value in content.values():
        yield from _states(value)


def _names(groups: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Give the places of parameters in a state by their names."""
    if all("param_names" in group for group in groups):
        pairs = [zip(group["param_names"], group["params"], strict=True) for group in groups]
        return {name: place for pair in pairs for name, place in pair}
    places = [place for group in groups for place in group["params"]]
    if len(groups) > 1 or len(places) != len(names):
        raise ValueError(
            f"the optimiser has {len(places)} parameters in {len(groups)} group(s) without their "
            f"names, and the network has {len(names)}, so that it is not known which is which; "
            "make the optimiser of model.named_parameters(), in one group or several"
        )
    return dict(zip(names, places, strict=True))


def _settings(groups: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Give the settings that all groups have to share.

    Raises
    ------
    ValueError
        They are not those of Adam, or differ.
    """
    first = groups[0]
    for key in ("lr", "betas", "eps"):
        if key not in first:
            raise ValueError(
                f"the optimiser's state has no {key}, so that it is not that of Adam or AdamW, for "
                "which alone a preconditioner is known here"
            )
        if any(group[key] != first[key] for group in groups):
            raise ValueError(
                f"the optimiser's groups differ in {key}, so that there is no one limit of its "
                "curvature; give a state whose groups share it"
            )
    return first


def _diagonal(moments: Mapping[str, Any], settings: Mapping[str, Any]) -> Tensor:
    if _ADAM not in moments:
        raise ValueError(
            f"the optimiser's state has no {_ADAM}, so that it is not that of Adam or AdamW, for "
            "which alone a preconditioner is known here"
        )
    squares, steps = moments.get("max_exp_avg_sq", moments[_ADAM]), float(moments["step"])
    beta1, beta2 = (float(beta) for beta in settings["betas"])
    corrected = (squares.double() / (1 - beta2**steps)).sqrt()
    return (1 - beta1**steps) * (corrected + settings["eps"])
