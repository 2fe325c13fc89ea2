"""Mean squares, for regression."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from truehessian.networks.losses.measures import RSquared


@dataclass(frozen=True, eq=False, kw_only=True)
class MeanSquaredError:
    """The mean of squared differences of outputs and targets, over examples and numbers alike."""

    @property
    def measure(self) -> RSquared:
        """The share of the targets' variance that is explained."""
        return RSquared()

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        outputs, targets
            Of one shape (B, ..); of a single output, (B, 1), the targets may be (B,).

        Raises
        ------
        ValueError
            The shapes differ: PyTorch would set every output beside every target.
        """
        outputs = self.arranged(outputs, targets)
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)} and targets of shape "
                f"{tuple(targets.shape)} must have one shape"
            )
        return F.mse_loss(outputs, targets.to(outputs.dtype))

    def weights(self, targets: Tensor) -> None:
        """Count all examples alike."""
        del targets

    def arranged(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Take off the axis of a single output where the targets have none."""
        return outputs.squeeze(-1) if outputs.shape == (*targets.shape, 1) else outputs
