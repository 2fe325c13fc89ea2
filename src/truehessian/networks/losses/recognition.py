"""PyTorch's losses as ours, so that what is known of ours holds for them as well."""

import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn

from truehessian.data.trees import Tree
from truehessian.networks.losses.base import Loss, WeightedLoss, logits_of
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


class Interpreted:
    """A loss with what is known of it: what gives its value, its weights, and what it takes.

    Parameters
    ----------
    loss
        Of a user's own, of PyTorch's or of ours.

    Attributes
    ----------
    known
        The loss as one of ours, or None.
    told
        What tells more than a value, such as a measure: ours where there is one.
    function
        What gives the value.
    """

    def __init__(self, loss: Loss) -> None:
        self.known = recognised(loss)
        self.told: Any = self.known or loss
        # Ours takes what PyTorch's does, and logits with the classes last.
        self.function: Loss = self.known if isinstance(self.known, CrossEntropy) else loss
        self._wants_logits = self.known is not None or getattr(loss, "takes_logits", False)
        self._weights: Any = getattr(self.told, "weights", None)

    @property
    def has_weights(self) -> bool:
        """Whether examples may count with other weights than 1."""
        return callable(self._weights)

    def weights(self, targets: Tree) -> Any:
        """Give what the loss says are the weights of examples, unchecked; None for all 1."""
        return self._weights(targets) if self.has_weights else None

    def taken(self, outputs: Any) -> Any:
        """Take the logits from what a network gives, for a loss that is known to want them."""
        return logits_of(outputs) if self._wants_logits else outputs
