"""Networks that predictions are validated on and that the library does not come with."""

import itertools
from collections.abc import Sequence

from torch import nn


def convolutional(
    num_classes: int, input_shape: Sequence[int], channels: int = 8, activation: str = "Tanh"
) -> nn.Module:
    """Make three convolutions, each followed by average pooling, and a linear layer.

    Parameters
    ----------
    num_classes, input_shape
        As of every factory; images of at least 8x8 pixels.
    channels
        Of the first convolution; the others have twice as many.
    activation
        Name of a module of `torch.nn`.
    """
    layers: list[nn.Module] = []
    widths = [input_shape[0], channels, 2 * channels, 2 * channels]
    for before, after in itertools.pairwise(widths):
        convolution = nn.Conv2d(before, after, 3, padding=1)
        layers += [convolution, getattr(nn, activation)(), nn.AvgPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * channels, num_classes)]
    return nn.Sequential(*layers)
