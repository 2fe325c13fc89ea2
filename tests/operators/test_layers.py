"""Layers with derivatives of our own, against the same layers in plain PyTorch."""

import shutil

import pytest
import torch
from cases import CASES, Geometry, examples, network
from dense import dense_fisher, dense_gradient, dense_hessian
from torch import nn

from truehessian.operators import GGN, CompiledHessian, EmpiricalFisher, GradientCovariance, Hessian


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pattern", ["*weight*", "*bias*", "conv.*", "second.*", "head.*"])
def test_layers_may_be_frozen_in_part(pattern):
    model, data = CASES["normalised"].model(), examples(5)
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
    model, data = CASES["normalised"].model(), examples(7)
    covariance = GradientCovariance(model, data, precision="float64", chunk_size=3)
    fisher = dense_fisher(model, *data)
    mean = dense_gradient(model, *data)
    close(covariance.mean_gradient, mean)
    close(covariance @ torch.eye(len(mean)), fisher - torch.outer(mean, mean))
    assert covariance.describe()["operator"] == "gradient_covariance"


def test_fisher_matrix_needs_gradients_of_single_examples():
    with pytest.raises(ValueError, match="no gradient of a single example"):
        EmpiricalFisher(CASES["normalised"].model(), examples(4), batchnorm="train")


def test_attention_is_said_to_be_computed_by_its_definition():
    operator = Hessian(CASES["attention"].model(), examples(4))
    operator @ torch.ones(operator.num_params)
    assert operator.describe()["attention"] == "by definition"
    plain = Hessian(CASES["tied"].model(), examples(4))
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
    model, data = CASES["normalised"].model(), examples(7)
    operator = CompiledHessian(model, data, precision="float64", chunk_size=3)
    reference = dense_hessian(model, *data)
    vectors = torch.eye(len(reference), dtype=torch.float64)[:, ::9]
    close(operator @ vectors, reference @ vectors)
    assert operator.describe()["compiled"]
    assert not operator.describe()["graph_kept"]
