"""PyTorch's losses as ours, so that what is known of ours holds for them as well."""

import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn

from truehessian.networks.losses.base import WeightedLoss
from truehessian.networks.losses.binary import BinaryCrossEntropy
from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.networks.losses.log_likelihood import NegativeLogLikelihood
from truehessian.networks.losses.next_token import NextToken
from truehessian.networks.losses.squares import MeanSquaredError

_FUNCTIONS: dict[Callable[..., Any], type] = {
    F.cross_entropy: CrossEntropy,
    F.nll_loss: NegativeLogLikelihood,
    F.mse_loss: MeanSquaredError,
    F.binary_cross_entropy_with_logits: BinaryCrossEntropy,
}
_MODULES: dict[type, type] = {
    nn.CrossEntropyLoss: CrossEntropy,
    nn.NLLLoss: NegativeLogLikelihood,
    nn.MSELoss: MeanSquaredError,
    nn.BCEWithLogitsLoss: BinaryCrossEntropy,
}
_OPTIONS = ("weight", "ignore_index", "label_smoothing", "pos_weight", "reduction")


def recognised(loss: Any) -> WeightedLoss | None:
    """Find the loss of ours that is the same as one of PyTorch's.

    Parameters
    ----------
    loss
        A function of PyTorch's, its module, or a `functools.partial` of it; or one of ours.

    Returns
    -------
    WeightedLoss or None
        None for everything else, for what is no mean, and for options that ours does not have.
    """
    if type(loss) in (*_MODULES.values(), NextToken):
        known: WeightedLoss = loss
        return known
    function, options = loss, {}
    if isinstance(loss, functools.partial) and not loss.args:
        function, options = loss.func, dict(loss.keywords)
    kind = next((ours for theirs, ours in _FUNCTIONS.items() if function is theirs), None)
    if type(loss) in _MODULES:
        kind = _MODULES[type(loss)]
        options = {name: getattr(loss, name) for name in _OPTIONS if hasattr(loss, name)}
    if kind is None or options.pop("reduction", "mean") != "mean":
        return None
    options = {name: value for name, value in options.items() if value is not None}
    if not set(options) <= set(getattr(kind, "__dataclass_fields__", {})):
        return None
    if kind is CrossEntropy:
        options["as_pytorch"] = True
    found: WeightedLoss = kind(**options)
    return found
