"""Layers with derivatives of our own, against the same layers in plain PyTorch."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from cases import dense_fisher, dense_ggn, dense_hessian, examples, network
from torch import nn

from truehessian.operators import GGN, CompiledHessian, EmpiricalFisher, GradientCovariance, Hessian

KINDS = {
    "hessian": (Hessian, dense_hessian),
    "ggn": (GGN, dense_ggn),
    "fisher": (EmpiricalFisher, dense_fisher),
}


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
            nn.LazyLinear(3),
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


NETWORKS = [Geometry, OtherRanks, Normalised, Tied, Reparametrised, Attention]


def make(kind):
    model = network(kind, example=examples(2)[0])
    for name, parameter in model.named_parameters():
        if "bias" in name:  # normalisations start with zeros
            nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    return model


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory", [None, 0], ids=["graph kept", "graph anew"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", NETWORKS)
def test_products_are_those_of_plain_layers(architecture, kind, memory):
    operator_class, dense = KINDS[kind]
    model, data = make(architecture), examples(7)
    operator = operator_class(model, data, precision="float64", chunk_size=4, memory=memory)
    reference = dense(model, *data)
    for _ in range(2):
        close(operator @ torch.eye(len(reference)), reference)


@pytest.mark.parametrize("pattern", ["*weight*", "*bias*", "conv.*", "second.*", "head.*"])
def test_layers_may_be_frozen_in_part(pattern):
    model, data = make(Normalised), examples(5)
    operator = Hessian(model, data, precision="float64", parameters=[pattern])
    reference = dense_hessian(model, *data)
    chosen = torch.cat(
        [
            torch.full((p.numel(),), n in operator.network.parameters)
            for n, p in model.named_parameters()
        ]
    )
    close(operator @ torch.eye(operator.num_params), reference[chosen][:, chosen])


def test_gradient_covariance_is_the_fisher_matrix_centred():
    model, data = make(Normalised), examples(7)
    covariance = GradientCovariance(model, data, precision="float64", chunk_size=3)
    fisher = dense_fisher(model, *data)
    gradient = torch.autograd.grad(
        F.cross_entropy(model.eval()(data[0]), data[1]), list(model.parameters())
    )
    mean = torch.cat([g.reshape(-1) for g in gradient])
    close(covariance.mean_gradient, mean)
    close(covariance @ torch.eye(len(mean)), fisher - torch.outer(mean, mean))
    assert covariance.describe()["operator"] == "gradient_covariance"


def test_fisher_matrix_needs_gradients_of_single_examples():
    with pytest.raises(ValueError, match="no gradient of a single example"):
        EmpiricalFisher(make(Normalised), examples(4), batchnorm="train")


def test_attention_is_said_to_be_computed_by_its_definition():
    operator = Hessian(make(Attention), examples(4))
    operator @ torch.ones(operator.num_params)
    assert operator.describe()["attention"] == "by definition"
    plain = Hessian(make(Tied), examples(4))
    plain @ torch.ones(plain.num_params)
    assert plain.describe()["attention"] is None


def test_both_memory_formats_give_the_same_product():
    data = examples(6)
    smooth = network(Geometry, example=data[0])
    for kind in (Hessian, GGN):
        last = kind(smooth, data)
        first = kind(smooth, data)
        first.network.put_channels_last = lambda: False
        vector = torch.randn(last.num_params, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(last @ vector, first @ vector, rtol=1e-4, atol=1e-5)
        assert last.describe()["channels_last"]
        assert not first.describe()["channels_last"]


class Viewing(nn.Module):
    """Merges channels with pixels without asking how they lie in memory."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.mix = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(32, 3)

    def forward(self, inputs):
        return self.head(torch.tanh(self.mix(self.conv(inputs))).view(-1, 32))


def test_networks_that_view_their_channels_keep_them_first():
    operator = Hessian(network(Viewing), examples(4))
    operator @ torch.ones(operator.num_params)
    assert not operator.describe()["channels_last"]


class _Square(torch.autograd.Function):
    """x², with a second derivative that looks at its values, which no vectorised pass can."""

    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs**2

    @staticmethod
    def backward(ctx, cotangent):
        return _SquareBackward.apply(cotangent, *ctx.saved_tensors)


class _SquareBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cotangent, inputs):
        ctx.save_for_backward(cotangent, inputs)
        return 2 * cotangent * inputs

    @staticmethod
    def backward(ctx, along):
        cotangent, inputs = ctx.saved_tensors
        assert along.abs().max().item() >= 0
        return 2 * along * inputs, 2 * along * cotangent


class Squaring(nn.Module):
    def __init__(self, square):
        super().__init__()
        self.square = square
        self.first, self.second = nn.Linear(16, 3), nn.Linear(3, 3)

    def forward(self, inputs):
        return self.second(self.square(self.first(inputs.flatten(1))))


@pytest.mark.parametrize("square", [_Square.apply, torch.square])
def test_vectors_go_through_one_by_one_where_a_layer_cannot_take_several(square):
    model = network(lambda: Squaring(square), example=examples(1)[0])
    operator = Hessian(model, examples(6), precision="float64")
    block = torch.randn(5, operator.num_params, dtype=torch.float64)
    products = operator.matmat(block)
    assert operator._vectorised == (square is torch.square)
    torch.testing.assert_close(products, torch.stack([operator @ vector for vector in block]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_compiled_products_are_those_of_plain_layers():
    """Seven examples in chunks of three: the last chunk is not compiled."""
    model, data = make(Normalised), examples(7)
    operator = CompiledHessian(model, data, precision="float64", chunk_size=3)
    reference = dense_hessian(model, *data)
    vectors = torch.eye(len(reference), dtype=torch.float64)[:, ::9]
    close(operator @ vectors, reference @ vectors)
    assert operator.describe()["compiled"]
    assert not operator.describe()["graph_kept"]
