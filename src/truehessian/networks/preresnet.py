"""Residual networks with pre-activation for small images."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

_BOTTLENECK_FROM = 44  # the depth from which bottlenecks are usual


class PreResNet(nn.Module):
    """Pre-activation residual network with three stages, as is usual for CIFAR.

    Parameters
    ----------
    num_classes
        Number of outputs.
    input_shape
        (channels, height, width), of any size.
    depth
        6n + 2 with basic blocks, 9n + 2 with bottlenecks, n blocks per stage.
    width
        Channels of the first stage; the others have 2 and 4 times as many. A bottleneck gives out
        four times its channels.
    block
        "basic", "bottleneck", or None for bottlenecks where the depth is 9n + 2 and at least 44.

    References
    ----------
    He, Zhang, Ren & Sun (2016), Identity mappings in deep residual networks, ECCV. Where shapes
    change the shortcut is a 1x1 convolution of the block's input, before normalisation.
    Convolutions have no bias and are initialised after He et al. (2015), ICCV, with the fan-out.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        depth: int = 20,
        width: int = 16,
        block: str | None = None,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"preresnet: width must be at least 1, got {width}")
        make, num_blocks = _blocks(depth, block)
        self.stem = nn.Conv2d(input_shape[0], width, kernel_size=3, padding=1, bias=False)
        channels = width
        stages = []
        for stage in range(3):
            blocks = []
            for index in range(num_blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(make(channels, width * 2**stage, stride))
                channels = width * 2**stage * make.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * math.prod(module.kernel_size)
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        features = self.relu(self.norm(self.stages(self.stem(inputs))))
        return self.classifier(self.pool(features).flatten(1))


class _Block(nn.Module):
    """Normalise, rectify, convolve, several times over; then add the shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, convolutions: Sequence[nn.Conv2d], stride: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c.in_channels) for c in convolutions)
        out_channels = convolutions[-1].out_channels
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        features = inputs
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            features = convolution(F.relu(norm(features)))
        return features + self.shortcut(inputs)


class _Basic(_Block):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        convolutions = [
            nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        ]
        super().__init__(in_channels, convolutions, stride)


class _Bottleneck(_Block):
    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        convolutions = [
            nn.Conv2d(in_channels, width, 1, bias=False),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.Conv2d(width, self.expansion * width, 1, bias=False),
        ]
        super().__init__(in_channels, convolutions, stride)


def _blocks(depth: int, block: str | None) -> tuple[type[_Basic] | type[_Bottleneck], int]:
    """Choose the block and the number of blocks per stage."""
    if block is None:
        deep = depth >= _BOTTLENECK_FROM and (depth - 2) % 9 == 0
        block = "bottleneck" if deep else "basic"
    kinds: dict[str, tuple[type[_Basic] | type[_Bottleneck], int]] = {
        "basic": (_Basic, 6),
        "bottleneck": (_Bottleneck, 9),
    }
    if block not in kinds:
        raise ValueError(f"preresnet: block must be basic, bottleneck or left out, got {block!r}")
    make, layers = kinds[block]
    if depth <= 2 or (depth - 2) % layers:
        raise ValueError(
            f"preresnet: depth must be {layers}n + 2 with {block} blocks, for example "
            f"{2 * layers + 2} or {12 * layers + 2}, got {depth}"
        )
    return make, (depth - 2) // layers
