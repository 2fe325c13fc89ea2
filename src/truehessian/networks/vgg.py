"""VGG networks for small images, with and without batch normalisation."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

# Convolutions per stage; a stage ends with a pooling layer.
STAGES: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_WIDTH_FACTORS = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """VGG with a classifier of two hidden layers, as is usual for CIFAR.

    Parameters
    ----------
    num_classes
        Number of outputs.
    input_shape
        (channels, height, width), of any size. Where it is too small to be halved five times, the
        first pooling layers are left out, not the last: convolutions of maps of a single pixel
        would see eight ninths of padding, and the signal would die out.
    depth
        11, 13, 16 or 19.
    batch_norm
        Whether to normalise over the batch after each convolution.
    width
        Channels of the first stage; the others have 2, 4, 8 and 8 times as many, and so have the
        hidden layers of the classifier with 8 times as many units.
    dropout
        Probability, in the classifier.

    References
    ----------
    Simonyan & Zisserman (2015), ICLR. Convolutions are initialised after He et al. (2015), ICCV,
    with the fan-out; linear layers as PyTorch does.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        depth: int = 16,
        batch_norm: bool = False,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth not in STAGES:
            raise ValueError(
                f"vgg: depth must be one of {', '.join(map(str, STAGES))}, got {depth}"
            )
        if width < 1:
            raise ValueError(f"vgg: width must be at least 1, got {width}")
        widths = [factor * width for factor in _WIDTH_FACTORS]
        self.features, num_features = _features(input_shape, STAGES[depth], widths, batch_norm)
        hidden = widths[-1]
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(num_features, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.out_channels)))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.classifier(self.features(inputs).flatten(1))


def _features(
    input_shape: Sequence[int], convolutions: Sequence[int], widths: Sequence[int], batch_norm: bool
) -> tuple[nn.Sequential, int]:
    """Make the convolutional part and count what it gives out."""
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    halvings = min(height, width).bit_length() - 1  # down to one pixel
    for stage, (repeats, out_channels) in enumerate(zip(convolutions, widths, strict=True)):
        for _ in range(repeats):
            layers.append(nn.Conv2d(channels, out_channels, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU())
            channels = out_channels
        if len(widths) - stage <= halvings:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    return nn.Sequential(*layers), channels * height * width
