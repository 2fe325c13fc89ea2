"""Negative log-likelihood, for networks that end in a log-softmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from truehessian.networks.losses.base import as_weights
from truehessian.networks.losses.cross_entropy import IGNORED, CrossEntropy
from truehessian.networks.losses.measures import Accuracy


@dataclass(frozen=True, eq=False, kw_only=True)
class NegativeLogLikelihood:
    """The mean negative log-probability of the right class, from log-probabilities.

    It is linear in the outputs: their Gauss-Newton matrix is taken at the logits before the
    log-softmax.

    Attributes
    ----------
    weight, ignore_index
        As of `CrossEntropy`.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    weight: Sequence[float] | Tensor | None = None
    ignore_index: int = IGNORED

    def __post_init__(self) -> None:
        """Look at the numbers."""
        _ = self._classes

    @property
    def measure(self) -> Accuracy:
        """As of `CrossEntropy`."""
        return Accuracy(self._classes)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of log-probabilities (B, C, ..) and classes (B, ..)."""
        weight = None if self.weight is None else as_weights(self.weight, outputs)
        targets = targets.long()
        return F.nll_loss(outputs, targets, weight=weight, ignore_index=self.ignore_index)

    def weights(self, targets: Tensor) -> Tensor:
        """Count targets as `CrossEntropy` does."""
        return self._classes.weights(targets)

    @property
    def _classes(self) -> CrossEntropy:
        """What chooses and counts in the same way; log-probabilities have the order of logits."""
        return CrossEntropy(weight=self.weight, ignore_index=self.ignore_index, class_axis=1)
