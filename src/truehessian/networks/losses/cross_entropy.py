"""Cross-entropy of classes, for images, pixels and tokens alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from truehessian.networks.losses.base import as_weights, check_factors, check_index
from truehessian.networks.losses.measures import Accuracy

IGNORED = -100  # PyTorch's default: the number of a target that does not count


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossEntropy:
    """The mean negative logarithm of the probability of the right class, from logits.

    An example may have several predictions, such as tokens or pixels. It counts with the number of
    those that are not ignored, each by the weight of its class, as in
    `torch.nn.functional.cross_entropy`, of which this is the mean over everything.

    Attributes
    ----------
    weight
        Of each class, C numbers from 0 on; all count alike if None.
    ignore_index
        Targets of this number do not count.
    label_smoothing
        Share of the target that is spread over all classes, from 0 to 1.
    class_axis
        Of the logits: 1 as in PyTorch, (B, C, ..), or -1, (B, .., C), as language models give them.
        None tells the two apart by the shape of the targets.
    as_pytorch
        Whether axis 1 is meant where the shapes do not tell.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    weight: Sequence[float] | Tensor | None = None
    ignore_index: int = IGNORED
    label_smoothing: float = 0.0
    class_axis: Literal[1, -1] | None = None
    as_pytorch: bool = False

    def __post_init__(self) -> None:
        """Look at the numbers."""
        smoothing: object = self.label_smoothing
        if not isinstance(smoothing, int | float) or not 0 <= smoothing <= 1:
            raise ValueError(f"label_smoothing must lie in [0, 1], got {smoothing!r}")
        if self.class_axis not in (1, -1, None):
            raise ValueError(f"class_axis must be 1, -1 or null, got {self.class_axis!r}")
        check_factors("weight", self.weight)
        check_index(self.ignore_index)

    @property
    def measure(self) -> Accuracy:
        """The accuracy of choosing the most probable class, over the targets that count."""
        return Accuracy(self)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        outputs
            Logits, shape (B, C), (B, C, ..) or (B, .., C).
        targets
            Classes, whole numbers of shape (B, ..), or probabilities of the logits' shape.
        """
        targets = self.aligned(targets)
        if self.arranged(outputs, targets) is not outputs:  # faster so than with another axis
            targets = targets.flatten(0, -2 if targets.is_floating_point() else -1)
            outputs = outputs.flatten(0, -2)
        weight = None if self.weight is None else as_weights(self.weight, outputs)
        return F.cross_entropy(
            outputs,
            targets if targets.is_floating_point() else targets.long(),
            weight=weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def weights(self, targets: Tensor) -> Tensor:
        """Count the targets of each example that are not ignored, by the weights of classes."""
        if targets.is_floating_point():  # probabilities: PyTorch divides by their number alone
            places = targets[0].numel() // max(self._classes(targets), 1) if len(targets) else 0
            return torch.full((len(targets),), places, dtype=torch.float64, device=targets.device)
        targets = self.aligned(targets)
        counted = targets != self.ignore_index
        if self.weight is None:
            return counted.flatten(1).sum(1).double() if targets.ndim > 1 else counted.double()
        weight = torch.as_tensor(self.weight, dtype=torch.float64, device=targets.device)
        own = weight[targets.long().where(counted, 0)] * counted
        return own.flatten(1).sum(1) if targets.ndim > 1 else own

    def aligned(self, targets: Tensor) -> Tensor:
        """Bring each target to the place of the logits that predict it."""
        return targets

    def chosen(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Choose the most probable class."""
        return self.arranged(outputs, targets).argmax(1)

    def right(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Give the right class, of probabilities the most probable one, and where it counts."""
        if targets.is_floating_point():
            right = self.arranged(targets, targets).argmax(1)
            return right, torch.ones_like(right, dtype=torch.bool)
        targets = self.aligned(targets)
        counted = targets != self.ignore_index
        if self.weight is not None:
            weight = torch.as_tensor(self.weight, device=targets.device)
            counted &= weight[targets.long().where(counted, 0)] > 0
        return targets, counted

    def arranged(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Put the classes on axis 1.

        Raises
        ------
        ValueError
            The shapes do not tell where they are.
        """
        if outputs.ndim < 3:
            return outputs
        axis = self.class_axis
        if axis is None and targets.shape != outputs.shape:
            last = targets.shape == outputs.shape[:-1]
            second = targets.shape == outputs.shape[:1] + outputs.shape[2:]
            if last and second and not self.as_pytorch:
                raise ValueError(
                    f"logits of shape {tuple(outputs.shape)} may have their classes on axis 1 or "
                    "on the last one; give the loss class_axis: 1 or class_axis: -1"
                )
            axis = -1 if last and not second else 1
        return outputs.movedim(-1, 1) if axis == -1 else outputs

    def _classes(self, probabilities: Tensor) -> int:
        return probabilities.shape[-1 if self.class_axis == -1 else 1]
