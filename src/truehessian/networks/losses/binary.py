"""Binary cross-entropy, for questions with yes or no that do not exclude each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from truehessian.networks.losses.base import as_weights, check_factors, check_index
from truehessian.networks.losses.measures import LabelAccuracy
from truehessian.networks.losses.squares import MeanSquaredError


@dataclass(frozen=True, eq=False, kw_only=True)
class BinaryCrossEntropy:
    """The mean binary cross-entropy from logits, over examples and labels alike.

    It is `torch.nn.functional.binary_cross_entropy_with_logits`. With `ignore_index` an example
    counts with the number of its labels that are known.

    Attributes
    ----------
    pos_weight
        Factor of the loss where the target is 1, one number for each label; all 1 if None.
    ignore_index
        Targets of this number, such as -1 for unknown labels, do not count; all do if None.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    pos_weight: Sequence[float] | Tensor | None = None
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Look at the numbers."""
        check_factors("pos_weight", self.pos_weight)
        check_index(self.ignore_index)

    @property
    def measure(self) -> LabelAccuracy:
        """The accuracy of answers by the sign of the logits, over the labels that are known."""
        return LabelAccuracy(self)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of logits (B, ..) and targets between 0 and 1 of the same shape.

        Raises
        ------
        ValueError
            The shapes differ.
        """
        outputs = MeanSquaredError().arranged(outputs, targets)
        if outputs.shape != targets.shape:
            raise ValueError(
                f"logits of shape {tuple(outputs.shape)} and targets of shape "
                f"{tuple(targets.shape)} must have one shape"
            )
        factors = None if self.pos_weight is None else as_weights(self.pos_weight, outputs)
        function = F.binary_cross_entropy_with_logits
        if self.ignore_index is None:
            return function(outputs, targets.to(outputs.dtype), pos_weight=factors)
        known = self.known(targets)
        wanted = targets.where(known, 0).to(outputs.dtype)
        losses = function(outputs, wanted, pos_weight=factors, reduction="none")
        return (losses * known).sum() / known.sum()

    def weights(self, targets: Tensor) -> Tensor | None:
        """Count the labels of each example that are known."""
        if self.ignore_index is None:
            return None
        known = self.known(targets)
        return known.flatten(1).sum(1).double() if known.ndim > 1 else known.double()

    def known(self, targets: Tensor) -> Tensor:
        """Tell which labels count."""
        if self.ignore_index is None:
            return torch.ones_like(targets, dtype=torch.bool)
        return targets != self.ignore_index

    def chosen(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Say yes where it is more probable than not."""
        return outputs.reshape(targets.shape) > 0

    def right(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Take a target above 1/2 for yes."""
        return targets > 0.5, self.known(targets)
