"""Multilayer perceptron."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class MLP(nn.Module):
    """Fully connected network on the flattened image, with PyTorch's default initialisation.

    Parameters
    ----------
    num_classes
        Number of outputs.
    input_shape
        (channels, height, width).
    hidden
        Widths of the hidden layers; none makes softmax regression.
    activation
        "relu", "tanh" or "gelu".
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"mlp: activation must be one of {', '.join(sorted(ACTIVATIONS))}, "
                f"got {activation!r}"
            )
        if any(width < 1 for width in hidden):
            raise ValueError(f"mlp: hidden must hold widths of at least 1, got {list(hidden)}")
        layers: list[nn.Module] = [nn.Flatten()]
        widths = [math.prod(input_shape), *hidden]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        layers.append(nn.Linear(widths[-1], num_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.layers(inputs)
