import math

import pytest
import torch
from torch import nn

from truehessian.networks import registry

CIFAR = {"input_shape": (3, 32, 32), "num_classes": 100}
DIGITS = {"input_shape": (1, 8, 8), "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "num_classes", "arguments", "expected"),
    [
        ("vgg", 100, {"depth": 16}, 15_291_300),
        ("vgg", 100, {"depth": 16, "batch_norm": True}, 15_299_748),
        ("preresnet", 100, {"depth": 110}, 1_169_972),
        ("preresnet", 10, {"depth": 110}, 1_146_842),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(name, num_classes, arguments, expected):
    model = registry.build(name, num_classes=num_classes, input_shape=(3, 32, 32), **arguments)
    assert registry.count_parameters(model) == expected


def test_a_perceptron_has_the_parameters_of_its_layers():
    model = registry.build("mlp", hidden=[5, 4], **DIGITS)
    assert registry.count_parameters(model) == 64 * 5 + 5 + 5 * 4 + 4 + 4 * 10 + 10
    linear = registry.build("mlp", hidden=[], **DIGITS)
    assert registry.count_parameters(linear) == 64 * 10 + 10


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_has_as_many_weight_layers_as_its_depth_says(depth):
    """The CIFAR variant is named after the ImageNet one, whose classifier also has three layers."""
    model = registry.build("vgg", depth=depth, width=2, **CIFAR)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize(
    ("depth", "block", "per_block"),
    [
        (20, None, 2),
        (44, None, 2),
        (56, None, 3),
        (110, None, 3),
        (110, "basic", 2),
        (20, "bottleneck", 3),
    ],
)
def test_preresnet_has_as_many_weight_layers_as_its_depth_says(depth, block, per_block):
    model = registry.build("preresnet", depth=depth, block=block, width=1, **CIFAR)
    layers = [
        m
        for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(layers) == depth
    assert len(model.stages[0][0].convolutions) == per_block


def test_preresnet_agrees_with_the_definition_of_a_pre_activation_block():
    """y = shortcut(x) + conv(relu(bn(conv(relu(bn(x)))))), with the shortcut of the plain x."""
    model = registry.build("preresnet", depth=8, width=2, seed=0, **CIFAR).double().eval()
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    block = model.stages[1][0]
    assert block.shortcut.weight.shape == (4, 2, 1, 1)
    inner = block.convolutions[0](block.norms[0](x).relu())
    expected = block.convolutions[1](block.norms[1](inner).relu()) + block.shortcut(x)
    torch.testing.assert_close(block(x), expected)
    assert expected.shape == (2, 4, 3, 3)


def test_convolutions_start_with_the_variance_of_he_with_fan_out():
    """The sample variance of n normal weights has relative standard error sqrt(2 / n)."""
    for name in ("vgg", "preresnet"):
        for module in registry.build(name, seed=0, **CIFAR).modules():
            if not isinstance(module, nn.Conv2d):
                continue
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            ratio = module.weight.var().item() * fan_out / 2
            assert abs(ratio - 1) < 5 * math.sqrt(2 / module.weight.numel())
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 70), (2, 1, 1)])
@pytest.mark.parametrize("name", ["vgg", "preresnet", "mlp"])
def test_networks_accept_images_of_any_size(name, shape):
    size = {"hidden": [4]} if name == "mlp" else {"width": 1}
    model = registry.build(name, num_classes=7, input_shape=shape, **size).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


def test_width_scales_vgg_throughout():
    model = registry.build("vgg", width=8, **DIGITS)
    convolutions = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64]
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [64, 64, 10]


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    weights = [
        nn.utils.parameters_to_vector(registry.build("mlp", seed=seed, **DIGITS).parameters())
        for seed in (1, 1, 2)
    ]
    assert torch.random.get_rng_state().equal(before)
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_batch_normalisation_is_recognised():
    assert registry.has_batch_norm(registry.build("preresnet", depth=8, **DIGITS))
    assert registry.has_batch_norm(registry.build("vgg", width=1, batch_norm=True, **DIGITS))
    assert not registry.has_batch_norm(registry.build("vgg", width=1, **DIGITS))


def test_frozen_parameters_are_not_counted():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert registry.count_parameters(model) == 6


def test_no_layer_works_in_place():
    for name in ("vgg", "preresnet", "mlp"):
        modules = registry.build(name, **DIGITS).modules()
        assert not any(getattr(m, "inplace", False) for m in modules)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(
        "from torch import nn\n"
        "def make(num_classes, input_shape, bias=True):\n"
        "    assert input_shape == (1, 8, 8)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes, bias=bias))\n"
        "def wrong(num_classes, input_shape):\n"
        "    return 'a network'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_network_of_the_users_own_is_made_by_its_factory(own_module):
    settings = {"num_classes": 10, "input_shape": [1, 8, 8], "bias": False}
    model = registry.build("own_networks:make", **settings)
    assert registry.count_parameters(model) == 640


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("preresnett", "got 'preresnett'; did you mean 'preresnet'"),
        ("no_such_package.models:make", "cannot import no_such_package.models"),
        ("own_networks:mkae", "has no 'mkae'; did you mean 'make'"),
        ("own_networks:wrong", "has to make a torch.nn.Module, but made a str"),
    ],
)
def test_a_wrong_name_is_an_error_that_helps(own_module, name, message):
    with pytest.raises(ValueError, match=message):
        registry.build(name, **DIGITS)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vgg", {"dpeth": 16}, "vgg takes batch_norm, depth, .* did you mean 'depth'"),
        ("vgg", {"depth": 12}, "depth must be one of 11, 13, 16, 19, got 12"),
        ("vgg", {"width": 0}, "width must be at least 1, got 0"),
        ("preresnet", {"depth": 21}, r"depth must be 6n \+ 2 with basic blocks"),
        ("preresnet", {"depth": 2}, r"depth must be 6n \+ 2 with basic blocks"),
        ("preresnet", {"depth": 44, "block": "bottleneck"}, r"depth must be 9n \+ 2"),
        ("preresnet", {"block": "wide"}, "block must be basic, bottleneck or left out"),
        ("mlp", {"activation": "sigmoid"}, "activation must be one of gelu, relu, tanh"),
        ("mlp", {"hidden": [3, 0]}, "hidden must hold widths of at least 1"),
    ],
)
def test_impossible_arguments_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        registry.build(name, **DIGITS, **arguments)
