"""Networks as people write them, each a sequence of layers that no rule was made for."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

NETWORKS: dict[str, Callable[[], nn.Module]] = {}


def sequence(make: Any) -> Any:
    """Register a network for images of shape (1, 4, 4) and three classes."""
    NETWORKS[make.__name__] = make
    return make


class Block(nn.Module):
    """A stem, a normalised convolution, something between it and a ReLU, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1)
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.head = nn.Linear(32, 3)

    def between(self, hidden: Tensor, skip: Tensor) -> Tensor:
        return hidden

    def rectify(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        skip = torch.tanh(self.stem(inputs))
        hidden = self.between(self.norm(self.conv(skip)), skip)
        return self.head(self.rectify(hidden).flatten(1))


def block(between: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Register a block with a function between normalisation and ReLU."""

    class Between(Block):
        def between(self, hidden: Tensor, skip: Tensor) -> Tensor:
            return between(hidden, skip)

    NETWORKS[between.__name__] = Between
    return between


@block
def added_in_place(hidden, skip):
    hidden += skip
    return hidden


@block
def multiplied_in_place(hidden, skip):
    hidden *= torch.sigmoid(skip)
    return hidden


@block
def clamped_in_place(hidden, skip):
    return hidden.clamp_(-0.5, 0.6).sub_(0.1 * skip)


@block
def masked_in_place(hidden, skip):
    return hidden.masked_fill_(skip > 0.2, 0.3)


@block
def part_assigned(hidden, skip):
    hidden[:, :1] = 0.5 * skip[:, :1]
    return hidden


@block
def part_added(hidden, skip):
    hidden[:, 1:] += skip[:, :1]
    return hidden


@block
def changed_through_a_view(hidden, skip):
    hidden.view(-1).add_(0.3)
    hidden.flatten(1)[:, 3:9].mul_(2)
    return hidden


@block
def changed_without_a_gradient(hidden, skip):
    with torch.no_grad():
        hidden.add_(0.2)
    return hidden


@block
def changed_behind_the_back(hidden, skip):
    hidden.data.mul_(-1)
    return hidden


@block
def detached_and_changed(hidden, skip):
    hidden.detach().add_(0.2)
    return hidden


@block
def not_changed_at_all(hidden, skip):
    return F.dropout(nn.Identity()(hidden), training=False)


@block
def copied(hidden, skip):
    return hidden.clone().add_(skip)


@block
def used_before_and_behind(hidden, skip):
    return F.relu(hidden) + hidden * skip


@block
def rectified_twice(hidden, skip):
    return torch.relu(hidden) - hidden.relu().square() + F.relu(input=hidden)


@block
def gated(hidden, skip):
    gate = torch.sigmoid(hidden.mean((2, 3), keepdim=True))
    return hidden * gate + skip


@block
def concatenated(hidden, skip):
    return torch.cat([hidden[:, :1], skip[:, 1:]], 1)


@block
def padded_and_strided(hidden, skip):
    return hidden.as_strided(hidden.shape, hidden.stride()) + F.pad(skip, (1, 0))[..., :-1]


@sequence
class InPlaceReLU(Block):
    def rectify(self, hidden):
        return F.relu_(hidden)


@sequence
class InPlaceByFlag(Block):
    def rectify(self, hidden):
        return F.relu(hidden, True) + nn.ReLU(inplace=True)(hidden - 0.1)


@sequence
class OtherActivations(Block):
    def rectify(self, hidden):
        return F.gelu(hidden) + F.silu(hidden) + F.leaky_relu(hidden) + F.relu6(hidden)


@sequence
class Preactivated(nn.Module):
    """Normalise, rectify in place, convolve; add the skip in place, twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs):
        hidden = self.stem(inputs)
        for norm, conv in zip(self.norms[:2], self.convs, strict=True):
            skip = hidden
            hidden = conv(F.relu(norm(hidden), inplace=True))
            hidden += skip
        return self.head(F.avg_pool2d(F.relu(self.norms[2](hidden)), 2).flatten(1))


@sequence
class SharedNormalisation(nn.Module):
    """One normalisation and one convolution, used twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(2), nn.Linear(32, 3)

    def forward(self, inputs):
        hidden = F.relu(self.norm(self.stem(inputs)))
        hidden = F.relu(self.norm(self.conv(hidden)) + self.conv(hidden))
        return self.head(hidden.flatten(1))


@sequence
class ByKeywords(nn.Module):
    """Functions called by keywords, with weights that are no layer's."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(0.3 * torch.randn(2, 1, 3, 3))
        self.matrix = nn.Parameter(0.3 * torch.randn(3, 8))
        self.bias, self.scale = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("var", torch.ones(2))

    def forward(self, inputs):
        hidden = F.conv2d(input=inputs, weight=self.kernel, padding=0)
        hidden = F.batch_norm(
            input=hidden, running_mean=self.mean, running_var=self.var, weight=self.scale
        )
        hidden = F.relu(input=hidden).flatten(1)
        return F.linear(input=hidden, weight=self.matrix, bias=self.bias)


@sequence
class TiedTranspose(nn.Module):
    """An autoencoder's weight, there and back, and a bias that broadcasts."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(5, 16))
        self.bias = nn.Parameter(torch.zeros(1))
        self.head = nn.Linear(16, 3)

    def forward(self, inputs):
        hidden = torch.tanh(F.linear(inputs.flatten(1), self.weight, self.bias))
        return self.head(torch.tanh(F.linear(hidden, self.weight.t())))


@sequence
class Recurrent(nn.Module):
    """An LSTM and a GRU, with first states made in the forward pass."""

    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(4, 3, batch_first=True)
        self.second = nn.GRU(3, 3, batch_first=True, bidirectional=True)

    def forward(self, inputs):
        state = torch.zeros(1, len(inputs), 3)
        hidden, _ = self.first(inputs.flatten(1, 2), (state, state))
        return self.second(hidden)[0][:, -1].view(-1, 2, 3).sum(1)


@sequence
class Transformer(nn.Module):
    """Tokens, an embedding tied to the head, attention, layer normalisation."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, inputs):
        tokens = inputs.flatten(1)[:, :6].abs().mul(3).long().clamp(max=4)
        mask = nn.Transformer.generate_square_subsequent_mask(6)
        hidden = self.layer(self.table(tokens), src_mask=mask.to(inputs))
        return self.head(self.norm(hidden))[:, -1, :3]


@sequence
class ScaledAttention(nn.Module):
    """Attention by the fused function, causal."""

    def __init__(self):
        super().__init__()
        self.project, self.head = nn.Linear(4, 12), nn.Linear(16, 3)

    def forward(self, inputs):
        q, k, v = self.project(inputs.squeeze(1)).view(-1, 4, 2, 6).transpose(1, 2).chunk(3, -1)
        hidden = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(hidden.transpose(1, 2).flatten(1))


@sequence
class OtherNormalisations(nn.Module):
    """Group, layer, instance and root-mean-square normalisation, each with a ReLU behind it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.group, self.instance = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)
        self.layer, self.rms = nn.LayerNorm(64), nn.RMSNorm(64)
        self.head = nn.Linear(64, 3)

    def forward(self, inputs):
        hidden = F.relu(self.group(self.stem(inputs)))
        hidden = F.relu(self.instance(hidden) + hidden).flatten(1)
        hidden = self.layer(hidden)
        hidden += 0.1
        hidden = F.relu(hidden)
        return self.head(F.relu(self.rms(hidden)))


@sequence
class Embedded(nn.Module):
    """Embeddings, also without a module."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 4, padding_idx=0)
        self.other = nn.Parameter(torch.randn(6, 4))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs):
        tokens = inputs.flatten(1).abs().mul(4).long().clamp(max=5)
        rows = F.embedding(tokens, self.other).mean(1)
        return self.head(torch.tanh(torch.cat([self.table(tokens).mean(1), rows], 1)))


class Cube(torch.autograd.Function):
    """x³, with a derivative that can be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return 3 * cotangent * x**2


@sequence
class OwnFunction(Block):
    def between(self, hidden, skip):
        return Cube.apply(hidden) + skip


@sequence
class Checkpointed(Block):
    def between(self, hidden, skip):
        return checkpoint(lambda x: self.norm(self.conv(x)).relu(), hidden, use_reentrant=False)


@sequence
class InnerGradient(nn.Module):
    """A force: minus the gradient of an energy by the inputs."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(16, 4), nn.Softplus(), nn.Linear(4, 1))
        self.head = nn.Linear(16, 3)

    def forward(self, inputs):
        with torch.enable_grad():
            place = inputs.flatten(1).detach().requires_grad_(True)
            force = torch.autograd.grad(self.energy(place).sum(), place, create_graph=True)[0]
        return self.head(force)


@sequence
class InnerStepByBackward(nn.Module):
    """A step of gradient descent on the weights, by `Tensor.backward`."""

    def __init__(self):
        super().__init__()
        self.fast, self.head = nn.Linear(16, 4), nn.Linear(4, 3)

    def forward(self, inputs):
        with torch.enable_grad():
            weight = self.fast.weight.detach().clone().requires_grad_(True)
            F.linear(inputs.flatten(1), weight).square().mean().backward()
        hidden = F.linear(inputs.flatten(1), self.fast.weight - 0.0 * weight.grad, self.fast.bias)
        return self.head(torch.tanh(hidden))


@sequence
class InnerTransform(nn.Module):
    """`torch.func` in the forward pass: a map over examples, and a gradient."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(16, 4), nn.Linear(16, 3)

    def forward(self, inputs):
        def energy(x):
            return torch.tanh(self.inner(x)).square().sum()

        return self.head(torch.func.vmap(torch.func.grad(energy))(inputs.flatten(1)))


@sequence
class Hypernetwork(nn.Module):
    """Weights that another layer makes, one set for each example."""

    def __init__(self):
        super().__init__()
        self.maker, self.head = nn.Linear(4, 32), nn.Linear(2, 3)

    def forward(self, inputs):
        flat = inputs.flatten(1)
        weights = torch.tanh(self.maker(flat[:, :4])).view(-1, 2, 16)
        shared = F.linear(flat, self.maker.weight[:2].repeat(1, 4))
        return self.head(torch.tanh(torch.bmm(weights, flat.unsqueeze(2)).squeeze(2) + shared))


@sequence
class Experts(nn.Module):
    """Each example goes to one of two layers, by its numbers."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(16, 3) for _ in range(2))
        self.head = nn.Linear(3, 3)

    def forward(self, inputs):
        flat = inputs.flatten(1)
        chosen = flat[:, :1] > 0
        hidden = torch.where(chosen, *(torch.tanh(expert(flat)) for expert in self.experts))
        return self.head(hidden)


@sequence
class StraightThrough(Block):
    """Rounds, and lets the gradient through."""

    def between(self, hidden, skip):
        return hidden + (hidden.mul(4).round() / 4 - hidden).detach() + skip


@sequence
def spectrally_normalised():
    parametrised = nn.utils.parametrizations.spectral_norm(nn.Linear(16, 4))
    return nn.Sequential(nn.Flatten(), parametrised, nn.Tanh(), nn.Linear(4, 3))


@sequence
def orthogonal():
    parametrised = nn.utils.parametrizations.orthogonal(nn.Linear(16, 4), orthogonal_map="cayley")
    return nn.Sequential(nn.Flatten(), parametrised, nn.Tanh(), nn.Linear(4, 3))


@sequence
def transposed():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.ConvTranspose2d(2, 2, 2, stride=2),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


@sequence
def without_scale():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3, affine=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 4, bias=False),
        nn.BatchNorm1d(4, momentum=None),
        nn.ReLU(),
        nn.Linear(4, 3),
    )


class Spectral(nn.Module):
    """A filter in a complex buffer between two transforms."""

    def __init__(self):
        super().__init__()
        self.register_buffer("filter", torch.randn(9, dtype=torch.complex64))
        self.scale, self.head = nn.Parameter(torch.ones(9)), nn.Linear(16, 3)

    def forward(self, inputs):
        modes = torch.fft.rfft(inputs.flatten(1)) * (self.filter * self.scale)
        return self.head(torch.tanh(torch.fft.irfft(modes, n=16)))


sequence(Spectral)


@sequence
class HookedAround(Block):
    """A hook behind the normalisation changes what goes on."""

    def __init__(self):
        super().__init__()
        self.norm.register_forward_hook(lambda module, inputs, output: output.add_(0.2))


@sequence
class Positional(nn.Module):
    """Makes tensors of the default type on the way, and scales by a Python number."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(5, 4), nn.Linear(16, 3)

    def forward(self, inputs):
        rows = inputs.squeeze(1)
        place = torch.linspace(0, 1, 4).view(1, 4, 1).expand(len(rows), 4, 1)
        hidden = torch.tanh(self.layer(torch.cat([rows, place], 2)) * math.sqrt(2))
        return self.head(hidden.flatten(1))
