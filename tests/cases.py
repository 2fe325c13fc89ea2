"""The table of problems that tests of operators share: a network, a loss, and its examples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolutional(nn.Module):
    """Convolution, BatchNorm, ReLU, max-pooling, dropout, a frozen layer and an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(8, 3)
        self.head.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.pool(torch.relu(self.norm(self.conv(inputs))))
        return self.head(self.dropout(hidden.flatten(1)))


class Smooth(nn.Sequential):
    """Two tanh layers: every second derivative is at work."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3))


class Geometry(nn.Sequential):
    """Strides, dilation, groups, padding by name; with and without bias."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3, stride=(2, 1), padding=(1, 2), bias=False),
            nn.Softplus(),
            nn.Conv2d(4, 2, 2, dilation=2, groups=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(2, 2, 3, padding="same"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, 3),
        )


class OtherRanks(nn.Module):
    """Convolutions of sequences and volumes, of examples without a batch axis too."""

    def __init__(self):
        super().__init__()
        self.sequence = nn.Conv1d(1, 2, 3)
        self.volume = nn.Conv3d(1, 2, 2, bias=False)
        self.head = nn.Linear(2 * 14 + 2 * 3, 3)

    def forward(self, inputs):
        sequence = torch.tanh(self.sequence(inputs.flatten(2)))
        volume = torch.tanh(self.volume(inputs.view(-1, 1, 2, 2, 4)))
        return self.head(torch.cat([sequence.flatten(1), volume.flatten(1)], 1))


class Normalised(nn.Module):
    """Normalisations before ReLU, before something else, used twice, in place, without weights."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.first, self.second, self.third = (nn.BatchNorm2d(2) for _ in range(3))
        self.bare = nn.BatchNorm1d(32, affine=False)
        self.features = nn.BatchNorm1d(3)
        self.hidden = nn.Linear(32, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, inputs):
        hidden = self.first(self.conv(inputs))
        hidden = torch.tanh(hidden) + hidden.relu()
        hidden = F.relu(self.second(hidden), inplace=True)
        hidden = torch.sigmoid(self.third(hidden))
        hidden = self.hidden(self.bare(hidden.flatten(1)))
        return self.head(torch.relu(self.features(hidden)))


class Tied(nn.Module):
    """One layer twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, inputs):
        hidden = torch.tanh(self.layer(inputs.flatten(1)))
        return self.head(torch.tanh(self.layer(hidden)))


class Direction(nn.Module):
    """A weight as length times direction."""

    def __init__(self, *shape):
        super().__init__()
        self.vector = nn.Parameter(torch.randn(shape))
        self.length = nn.Parameter(torch.ones(shape[0], *[1] * (len(shape) - 1)))

    def forward(self):
        return self.length * self.vector / self.vector.flatten(1).norm(dim=1).view_as(self.length)


class Reparametrised(nn.Module):
    """The gradient of a weight has a value that its own parameters need."""

    def __init__(self):
        super().__init__()
        self.kernel, self.matrix = Direction(2, 1, 3, 3), Direction(3, 8)
        self.scale = Direction(2, 1)
        for name in ("mean", "var"):
            self.register_buffer(f"running_{name}", torch.ones(2))

    def forward(self, inputs):
        hidden = F.conv2d(inputs, self.kernel())
        scale = self.scale().flatten()
        hidden = F.batch_norm(hidden, self.running_mean, self.running_var, scale, scale)
        return F.linear(torch.tanh(hidden).flatten(1), self.matrix())


class Attention(nn.Module):
    """A transformer's layer: the fused kernels of its attention have no second derivatives."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=4, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, inputs):
        return self.head(self.layer(inputs.squeeze(1)).flatten(1))


class Recurrent(nn.Module):
    """An LSTM over the rows of an image, whose cuDNN kernels cannot be differentiated twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs.squeeze(1))[0][:, -1])


class NormalisedRows(nn.Sequential):
    """BatchNorm1d behind a linear layer, and a second one whose input needs no gradient."""

    def __init__(self) -> None:
        layers = nn.Linear(16, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
        super().__init__(nn.Flatten(), nn.BatchNorm1d(16), *layers)


class AttentionOfRows(nn.Module):
    """Attention over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.squeeze(1)
        return self.head(self.norm(rows + self.layer(rows, rows, rows)[0]).mean(1))


class Pixels(nn.Sequential):
    """One decision for each pixel."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 1)
        )


def network(kind: type[nn.Module], seed: int = 0, example: Tensor | None = None) -> nn.Module:
    """Build a network in float64; an example settles the shapes of its lazy layers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind().double()
        if example is not None:
            model.eval()(example)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return model


def examples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (count,), generator=generator)


class Case(NamedTuple):
    """A problem: a network for images of shape (1, 4, 4), a loss, and targets that it takes.

    Attributes
    ----------
    make
        Makes the network.
    loss
        A mean over the examples that it is given.
    targets
        Makes targets of the three classes of the examples, shape (N,).
    """

    make: Callable[[], nn.Module]
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy
    targets: Callable[[Tensor], Tensor] = lambda classes: classes

    def model(self) -> nn.Module:
        """The network in float64, with biases that are not zero."""
        model = network(self.make)
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if "bias" in name:  # normalisations start with zeros
                nn.init.normal_(parameter, std=0.3, generator=generator)
        return model

    def data(self, count: int) -> tuple[Tensor, Tensor]:
        inputs, classes = examples(count)
        return inputs, self.targets(classes)


def one_hot(classes: Tensor) -> Tensor:
    return F.one_hot(classes, 3).double()


def for_each_pixel(classes: Tensor) -> Tensor:
    return (classes[:, None] + torch.arange(16)).remainder(3).view(-1, 4, 4)


CASES = {
    "convolutional": Case(Convolutional),
    "smooth": Case(Smooth),
    "geometry": Case(Geometry),
    "other ranks": Case(OtherRanks),
    "normalised": Case(Normalised),
    "normalised rows": Case(NormalisedRows),
    "tied": Case(Tied),
    "reparametrised": Case(Reparametrised),
    "attention": Case(Attention),
    "attention of rows": Case(AttentionOfRows),
    "recurrent": Case(Recurrent),
    "label smoothing": Case(Convolutional, nn.CrossEntropyLoss(label_smoothing=0.1)),
    "squares": Case(Smooth, F.mse_loss, one_hot),
    "binary": Case(Convolutional, F.binary_cross_entropy_with_logits, one_hot),
    "pixels": Case(Pixels, targets=for_each_pixel),
}
