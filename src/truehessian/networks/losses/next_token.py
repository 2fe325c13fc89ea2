"""The loss of language models: each token is predicted from those before it."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from truehessian.networks.losses.cross_entropy import CrossEntropy


@dataclass(frozen=True, eq=False, kw_only=True)
class NextToken(CrossEntropy):
    """Cross-entropy of each token by the logits at the place before it.

    The targets are the tokens themselves, (B, T), with `ignore_index` where there is padding; the
    first one is predicted by nothing, and the last logits predict nothing. Everything else is as in
    `CrossEntropy`.
    """

    class_axis: Literal[1, -1] | None = -1

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of logits (B, T, C) and tokens (B, T)."""
        return super().__call__(*self.shifted(outputs, targets))

    def weights(self, targets: Tensor) -> Tensor:
        """Count the tokens of each example that are predicted and not ignored."""
        return super().weights(targets[:, 1:])

    def shifted(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Pair logits (B, T - 1, C) with the tokens (B, T - 1) that they predict."""
        return outputs[:, :-1], targets[:, 1:]
