"""The loss of language models: each token is predicted from those before it."""

from dataclasses import dataclass
from typing import Literal

import torch
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

    def aligned(self, targets: Tensor) -> Tensor:
        """Bring each token to the place of the logits that predict it."""
        targets = targets.long()
        nothing = torch.full_like(targets[:, :1], self.ignore_index)
        return torch.cat([targets[:, 1:], nothing], 1)
