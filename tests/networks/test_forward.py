"""Precision, memory format and compilation of training."""

import copy
import itertools
import shutil
import warnings

import pytest
import test_training
import torch
import torch.nn.functional as F
from recipes import train
from torch import nn

from truehessian.data import catalogue
from truehessian.data.batches import Augmentation, batches
from truehessian.networks import checkpoints, registry, resume
from truehessian.networks.forward import Forward
from truehessian.networks.training import evaluate, step

SETTINGS = test_training.SETTINGS | {"epochs": 2, "checkpoint_epochs": [2]}
COMPILED = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler"),
]
MODES = [
    {"channels_last": True},
    {"precision": "bf16"},
    {"precision": "bf16", "channels_last": True},
    pytest.param({"compiled": True}, marks=COMPILED),
    pytest.param({"precision": "bf16", "channels_last": True, "compiled": True}, marks=COMPILED),
]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module")
def digits():
    return catalogue.fetch("digits", train_examples=97, test_examples=50)


def network(name="preresnet", width=4):
    """Of two kinds: with a shortcut and channels that change, and with dropout."""
    arguments = {
        "preresnet": {"width": width, "depth": 8},
        "vgg": {"width": 2, "depth": 11, "batch_norm": True},
    }
    return registry.build(name, num_classes=10, input_shape=(1, 8, 8), seed=0, **arguments[name])


def ignore(epoch, model):
    pass


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def identical(first, second):
    theirs = second.state_dict()
    return all(tensor.equal(theirs[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", [*MODES, {"precision": "tf32"}])
def test_a_killed_run_resumes_to_the_same_bits_in_every_mode(digits, tmp_path, mode, device):
    settings = SETTINGS | mode | {"device": device}
    undisturbed = network("vgg")
    expected = train(undisturbed, digits, **settings, on_checkpoint=ignore)

    def die(epoch, model):
        raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(network("vgg"), digits, **settings, on_checkpoint=die, state=state)
    if "compiled" in mode:
        torch.compiler.reset()  # as a new process does
    again = network("vgg")
    rows = train(again, digits, **settings, on_checkpoint=ignore, state=state)
    assert without_seconds(rows) == without_seconds(expected)
    assert identical(again, undisturbed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_weights_statistics_and_momentum_stay_in_float32(digits, tmp_path, mode, device):
    model, state = network(), tmp_path / "state.safetensors"
    settings = SETTINGS | mode | {"epochs": 1, "checkpoint_epochs": [], "device": device}
    train(model, digits, **settings, on_checkpoint=ignore, state=state)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (torch.int64 if "num_batches" in name else torch.float32)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    resume.load(state, model, optimiser)
    for parameter in model.parameters():
        assert optimiser.state[parameter]["momentum_buffer"].dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES[1:])
def test_every_mode_trains_about_as_well_as_float32(mode, device):
    """Ten epochs on 500 digits: losses within a fifth, and 0.04 near zero; 19 in 20 recognised."""
    dataset = catalogue.fetch("digits", train_examples=500)
    settings = SETTINGS | {"epochs": 10, "checkpoint_epochs": [], "augment": False}
    plain = train(network(), dataset, on_checkpoint=ignore, **settings)
    rows = train(network(), dataset, on_checkpoint=ignore, **settings | mode, device=device)
    for key in ("train_loss", "test_loss"):
        assert rows[-1][key] == pytest.approx(plain[-1][key], rel=0.2, abs=0.04)
    assert rows[-1]["test_accuracy"] > 0.9
    if "precision" in mode:  # the others may round alike
        assert rows[1]["train_loss"] != plain[1]["train_loss"]


def test_accuracy_and_loss_are_evaluated_in_the_precision_of_training(digits):
    settings = SETTINGS | {"epochs": 0, "checkpoint_epochs": []}
    model = network()
    (row,) = train(model, digits, **settings, precision="bf16", on_checkpoint=ignore)
    forward = Forward(model, "cpu", precision="bf16")
    for key, examples in (("train_loss", digits.train), ("test_loss", digits.test)):
        assert row[key] == evaluate(model, examples, forward).loss
        assert row[key] != evaluate(model, examples).loss


def test_tf32_is_float32_on_a_cpu(digits):
    settings = SETTINGS | {"epochs": 1, "checkpoint_epochs": []}
    both = [network(), network()]
    for model, precision in zip(both, ("float32", "tf32"), strict=True):
        train(model, digits, **settings, precision=precision, on_checkpoint=ignore)
    assert identical(*both)


@pytest.mark.parametrize("training", [True, False])
def test_in_bf16_convolutions_compute_in_bfloat16_and_logits_are_float32(digits, training):
    model = network().train(training)
    seen = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda m, _, out, name=name: seen.update({name: out.dtype}))
    inputs, _ = digits.train.batch(slice(8))
    logits = Forward(model, "cpu", precision="bf16")(inputs)
    assert logits.dtype == torch.float32
    assert seen["stem"] == seen["norm"] == seen["classifier"] == torch.bfloat16


def test_in_bf16_statistics_are_those_of_bfloat16_inputs_taken_in_float32(digits):
    """A running mean in bfloat16 would have eight bits."""
    model = network().train()
    inputs = []
    model.norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    Forward(model, "cpu", precision="bf16")(digits.train.batch(slice(64))[0])
    expected = 0.1 * inputs[0].double().mean((0, 2, 3))
    torch.testing.assert_close(model.norm.running_mean.double(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["preresnet", "vgg"])
def test_channels_last_gives_the_same_gradient_to_rounding(digits, name):
    """In float64, where no ReLU switches by rounding; the layers see nothing but strides."""
    inputs, targets = digits.train.batch(slice(16), torch.float64)
    first, last = (network(name, width=16).double().eval() for _ in range(2))
    assert Forward(last, "cpu", channels_last=True).memory_format is torch.channels_last
    logits = [model(inputs) for model in (first, last)]
    torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-12)
    both = [
        torch.autograd.grad(F.cross_entropy(out, targets), list(model.parameters()))
        for model, out in zip((first, last), logits, strict=True)
    ]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_step_with_channels_last_is_that_of_float32_to_rounding(digits):
    """Two steps, before rounding has switched many ReLUs; weights lie channel by channel."""
    found = []
    for channels_last in (False, True):
        model = network(width=16).train()
        forward = Forward(model, "cpu", channels_last=channels_last)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        feed = batches(
            digits.train, 32, torch.Generator().manual_seed(0), None, forward.memory_format
        )
        for inputs, targets in itertools.islice(feed, 2):
            step(forward, optimiser, inputs, targets)
        found.append(model)
    for one, other in zip(*(model.parameters() for model in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    weight = found[1].stages[1][0].convolutions[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_a_checkpoint_is_the_same_file_whatever_the_memory_format(digits, tmp_path):
    first, last = network(width=16), network(width=16)
    assert Forward(last, "cpu", channels_last=True).memory_format is torch.channels_last
    details = {"epoch": 0, "seed": 0, "training_precision": "float32"}
    arguments = {"name": "preresnet", "num_classes": 10, "input_shape": (1, 8, 8)}
    for name, model in (("first", first), ("last", last)):
        metadata = checkpoints.describe(arguments, digits, **details)
        checkpoints.save(tmp_path / name, model, metadata=metadata)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "last").read_bytes()


def test_a_resumed_run_keeps_momentum_in_the_memory_format_of_the_weights(digits, tmp_path):
    """Of unlike formats, the optimiser would take the weights one by one."""
    state = tmp_path / "state.safetensors"
    settings = SETTINGS | {"epochs": 1, "checkpoint_epochs": [], "channels_last": True}
    train(network(width=16), digits, **settings, on_checkpoint=ignore, state=state)
    model = network(width=16)
    assert Forward(model, "cpu", channels_last=True).memory_format is torch.channels_last
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert len(resume.load(state, model, optimiser)) == 2
    for parameter in model.parameters():
        assert optimiser.state[parameter]["momentum_buffer"].stride() == parameter.stride()


@pytest.mark.parametrize("precision", ["fp16", "float64", "BF16"])
def test_an_unknown_precision_is_refused_with_those_that_there_are(digits, precision):
    message = f"training.precision must be one of float32, tf32, bf16, got '{precision}'"
    with pytest.raises(ValueError, match=message):
        train(network(), digits, **SETTINGS, precision=precision, on_checkpoint=ignore)


def test_bf16_is_refused_on_a_gpu_that_would_emulate_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match=r"8\.0 or newer, but cuda:0 has 7\.5; use float32"):
        Forward(nn.Linear(2, 2), "cuda:0", precision="bf16")


def test_channels_last_is_refused_for_other_than_two_dimensional_convolutions():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(2), nn.Conv1d(1, 1, 1))
    with pytest.raises(ValueError, match="two-dimensional convolutions, but 2 is a Conv1d"):
        Forward(model, "cpu", channels_last=True)
    Forward(model, "cpu")
    Forward(nn.Linear(2, 2), "cpu", channels_last=True)


def test_channels_stay_first_where_last_would_reach_a_broken_kernel(caplog):
    """The shortcut of width 4 has a stride and four channels; on a GPU there is no such kernel."""
    for width, layout in ((4, torch.contiguous_format), (16, torch.channels_last)):
        caplog.clear()
        model = network(width=width)
        assert Forward(model, "cpu", channels_last=True).memory_format is layout
        assert ("channels stay first" in caplog.text) == (width == 4)
        weight = model.stages[1][0].convolutions[0].weight
        assert weight.is_contiguous() == (width == 4)
    caplog.clear()
    Forward(network(width=4), "cpu")
    assert not caplog.records


@pytest.mark.parametrize(("width", "last"), [(4, False), (16, True)])
def test_the_compiler_may_lay_channels_last_only_where_it_is_right(monkeypatch, width, last):
    """By itself it does so on every CPU."""
    chosen = {}
    monkeypatch.setattr(torch, "compile", lambda model, **settings: chosen.update(settings))
    Forward(network(width=width), "cpu", compiled_size=32)
    assert chosen["options"]["layout_optimization"] is last


@pytest.mark.parametrize("mode", MODES[3:])
def test_compiled_steps_are_those_of_plain_layers_to_rounding(digits, mode):
    """The short last batch is not compiled, and both kinds update the same weights."""
    mode = {**mode}
    mode.pop("compiled")
    found, compiled = [], []
    for size in (None, 32):
        model = network().train()
        forward = Forward(model, "cpu", compiled_size=size, **mode)
        run = forward._run_compiled
        forward._run_compiled = lambda inputs, run=run: compiled.append(len(inputs)) or run(inputs)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        feed = batches(digits.train, 32, torch.Generator().manual_seed(0))
        found.append([step(forward, optimiser, *batch)[0] for batch in feed])
    assert compiled == [32] * (len(found[1]) - 1)
    tolerance = 0.05 if "precision" in mode else 1e-4
    torch.testing.assert_close(*map(torch.stack, found), rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_missing_compiler_is_an_error_that_names_the_key(digits, tmp_path, monkeypatch):
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    settings = SETTINGS | {"compiled": True}
    with (
        inductor.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(RuntimeError, match=r"C\+\+ compiler.* or set training\.compile: false"),
    ):
        train(network(), digits, **settings, on_checkpoint=ignore)
    torch.compiler.reset()


@pytest.mark.gpu
def test_steps_do_not_wait_for_the_gpu(digits):
    """As many synchronisations with 2 steps as with 16: those of the whole epoch."""
    counts = []
    for batch_size in (48, 6):
        model = network().to("cuda").train()
        forward = Forward(model, "cuda", precision="bf16", channels_last=True)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        examples = digits.train.subset(range(96)).to("cuda")
        step(forward, optimiser, *examples.batch(slice(8)))  # what only the first step does
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                generator = torch.Generator().manual_seed(0)
                feed = batches(examples, batch_size, generator, Augmentation(1, True))
                for inputs, targets in feed:
                    step(forward, optimiser, inputs, targets)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchronizing" in str(warning.message) for warning in caught))
    assert counts[0] == counts[1]


@pytest.mark.gpu
def test_float32_training_does_not_use_tf32(digits):
    """PyTorch's own default would: losses after an epoch agree with those of the CPU."""
    settings = SETTINGS | {"epochs": 1, "batch_size": 97, "augment": False}
    model = copy.deepcopy(network())
    here = train(network(), digits, **settings, on_checkpoint=ignore)
    there = train(model, digits, **settings, on_checkpoint=ignore, device="cuda")
    assert there[1]["train_loss"] == pytest.approx(here[1]["train_loss"], rel=1e-5)
