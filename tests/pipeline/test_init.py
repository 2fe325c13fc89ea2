"""The command that writes a configuration for one's own network, weights, data and loss."""

import builtins
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import yaml
from test_workflow import snakemake
from torchvision.io import write_png

from truehessian import text
from truehessian.data import catalogue
from truehessian.networks import evaluation, registry
from truehessian.pipeline import cli, plan
from truehessian.pipeline.config import checks
from truehessian.pipeline.config.inference import SelfTest
from truehessian.pipeline.config.run import Run
from truehessian.pipeline.config.spectra import BatchNorm, Subsamples
from truehessian.pipeline.init import choices, cost, files, talk, trial

SMALL = ["--data", "digits", "--model", "mlp", "--model-arg", "hidden=[6]", "--quick"]
NETWORK = """
import torch
import torch.nn.functional as F
from torch import nn

def make(num_classes, input_shape, hidden=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10))

def frozen():
    network = make(10, (1, 8, 8))
    network[1].requires_grad_(False)
    return network

class Language(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.embedding = nn.Embedding(num_classes, 3)
        self.head = nn.Linear(3, num_classes)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head(self.embedding(input_ids).tanh())}

def tokens(count=80):
    ids = torch.arange(count * 6).view(count, 6) % 11
    labels = ids.where(ids != 3, -100)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

def few(hidden=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def broken():
    raise RuntimeError("no such thing")

def smoothed(outputs, targets):
    return F.cross_entropy(outputs, targets, label_smoothing=0.1)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with nobody to ask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(talk.Talk, "_answer", None)
    return tmp_path


@pytest.fixture
def images(folder):
    """Images of three classes that differ in colour, 16 to train on and 8 to test on of each."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 16), ("test", 8)):
        for channel, name in enumerate(("cat", "dog", "owl")):
            place = folder / "images" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                image = torch.randint(0, 99, (3, 10, 12), generator=generator, dtype=torch.uint8)
                image[channel] += 100
                write_png(image, str(place / f"{number}.png"))
    return "images"


@pytest.fixture
def own(folder):
    """Modules of the user's own."""
    (folder / "own_init.py").write_text(NETWORK)


def init(*arguments):
    return cli.main(["init", *map(str, arguments)])


def written(capsys, path):
    """The run of a configuration that was written, what was said, and its text."""
    out = capsys.readouterr().out
    assert f"Written: {path}, valid" in out
    text = path.read_text()
    checked = checks.check(yaml.safe_load(text))
    (name,) = checked.analyse
    return checked.runs[name], out, text


def refused(capsys, *arguments):
    """The one sentence in which something is refused."""
    assert init(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("truehessian: ")
    assert error.count("\n") == 1
    return error


def test_a_network_of_ours_is_to_be_trained_on_a_data_set(folder, capsys):
    assert init(*SMALL, "--train", "--epochs", 0, 2, "--run", "mine") == 0
    run, out, _ = written(capsys, Path("mine.yaml"))
    assert (run.training.epochs, run.epochs, run.checkpoints) == (2, [0, 2], None)
    assert run.model.model_dump() == {"name": "mlp", "hidden": [6]}
    assert run.dataset.sizes == (512, 256)
    assert (run.dataset.train_examples, run.dataset.test_examples) == (512, 256)
    num_params = 64 * 6 + 6 + 6 * 10 + 10
    assert f"P = {num_params} parameters: layers {num_params}" in out
    counts = np.bincount(catalogue.fetch(**run.settings("dataset")).train.targets)
    assert f"of {counts.min()} to {counts.max()} training examples: 0: {counts[0]}, " in out
    assert "uv run snakemake plan " in out


def test_every_key_of_every_section_stands_with_what_the_models_say_of_it(folder, capsys):
    init(*SMALL, "--train", "--run", "mine")
    run, _, text = written(capsys, Path("mine.yaml"))
    said = " ".join(line.partition("#")[2].strip() for line in text.splitlines())
    sections = [Run, *(type(section) for section in run.sections.values())]
    for section in sections:
        for key, field in section.model_fields.items():
            assert re.search(rf"^ +{key}:", text, re.M), key
            assert field.description is None or field.description in said, key
    for off in (SelfTest, BatchNorm, Subsamples):
        assert off.__doc__.partition("\n")[0] in said


def test_what_is_to_be_done_is_what_a_plan_says_at_the_speed_of_the_trial(
    folder, capsys, monkeypatch
):
    device = torch.device("cpu")
    trials = [trial.Trial(device, 1000.0, 48, 0.0, 32, True)]
    monkeypatch.setattr(trial, "timed", lambda *args: trials[0])
    init(*SMALL, "--train", "--run", "mine", "--epochs", 0, 6)
    run, out, _ = written(capsys, Path("mine.yaml"))
    stages = plan.plan("mine", run, 460).stages
    minutes = sum(stage.jobs * stage.products * stage.examples for stage in stages) / 60_000
    products = sum(stage.jobs * stage.products for stage in stages)
    assert f"at most {products:,} products with P = 460" in out
    assert "at 1.0 k examples/s per product, as timed on cpu with 48 examples" in out
    assert f": about {minutes:.1f} min at most" in out
    assert "training about 1 s" in out  # 6 epochs of a third of 512 examples
    assert run.spectrum.chunk_size == 32


def test_passes_through_small_groups_take_as_long_as_they_have_been_timed():
    """A pass of 100 examples takes 0.1 s, of which half does not depend on their number."""
    slow = trial.Trial(torch.device("cpu"), 1000.0, 100, 0.0, 64, True, per_pass=0.05)
    assert slow.seconds(1, 100) == pytest.approx(0.1)
    assert slow.seconds(25, 100) == pytest.approx(25 * 0.05 + 0.05)
    run = checks.check(
        {
            "analyse": ["mine"],
            "runs": {
                "mine": {
                    "dataset": {"name": "digits", "train_examples": 96, "test_examples": 48},
                    "model": {"name": "mlp"},
                    "training": {"epochs": 1},
                    "epochs": [1],
                    "spectrum": {"chunk_size": 32},
                    "batch": None,
                    "variance": {"group_size": 4},
                }
            },
        }
    ).runs["mine"]
    stages = {stage.name: stage for stage in plan.plan("mine", run, 460).stages}
    for name, passes in (("full", 3), ("variance", 24)):
        stage = stages[name]
        exact = stage.products * (passes * 0.05 + 96 * 0.0005)
        assert cost._seconds(stage, run, slow) == pytest.approx(exact)


def test_what_was_written_is_what_was_chosen(capsys, folder, monkeypatch):
    """To the value: what is read back from the text equals the run that was put into it."""
    chosen = []
    settings = choices.settings
    monkeypatch.setattr(
        choices, "settings", lambda *args: chosen.append(settings(*args)) or chosen[0]
    )
    init(*SMALL, "--train", "--run", "mine")
    run, _, _ = written(capsys, Path("mine.yaml"))
    assert run == Run.model_validate(chosen[0].run)


def test_flags_are_taken_as_they_are(capsys, folder):
    flags = ["--steps", 5, "--batch-sizes", 12, 24, "--parameters", "layers.1.*", "--device", "cpu"]
    flags += ["--train-examples", 96, "--test-examples", 48, "--mean", 0.5, "--std", 0.25]
    assert init(*SMALL, "--train", *flags, "--output", "there/mine.yaml") == 0
    run, out, _ = written(capsys, Path("there/mine.yaml"))
    assert (run.spectrum.steps, run.spectrum.device, run.training.device) == (5, "cpu", "cpu")
    assert run.spectrum.vectors == 2  # of either end, of five Ritz values
    assert (run.batch.sizes, run.variance.group_size) == ([12, 24], 12)
    assert (run.parameters, run.dataset.mean, run.dataset.std) == (["layers.1.*"], [0.5], [0.25])
    assert run.dataset.sizes == (96, 48)
    assert f"{64 * 6 + 6} of them in matrices" in out
    assert "normalised by mean 0.5 and std 0.25; their own mean is 0.2" in out


def test_frozen_parameters_are_left_out_by_a_word(own, folder, capsys):
    flags = ["--data", "digits", "--model", "own_init:frozen", "--train", "--quick"]
    assert init(*flags, "--parameters", "trainable", "--run", "mine") == 0
    run, out, _ = written(capsys, Path("mine.yaml"))
    assert run.parameters == "trainable"
    assert "50 of them in matrices, by trainable" in out


def test_a_product_is_tried_on_the_gpu_that_is_asked_for(folder, capsys, cuda):
    assert init(*SMALL, "--train", "--device", "cuda:0", "--run", "mine") == 0
    run, out, _ = written(capsys, Path("mine.yaml"))
    assert "as timed on cuda:0 with" in out
    assert run.spectrum.device == "cuda:0"


def test_a_folder_of_images_a_network_of_torchvision_and_one_file_of_weights(
    images, folder, capsys
):
    how = {"num_classes": 3, "input_shape": (3, 32, 32), "seed": 1}
    network = registry.build("torchvision:squeezenet1_1", **how)
    torch.save({"state_dict": network.state_dict(), "epoch": 7}, "best.pt")
    flags = ["--data", images, "--model", "torchvision:squeezenet1_1", "--weights", "best.pt"]
    assert init(*flags, "--quick") == 0
    run, out, _ = written(capsys, Path("images-squeezenet1_1.yaml"))
    assert (run.checkpoints, run.epochs, run.training) == ("best.pt", [1], None)
    assert run.dataset.model_dump(include={"name", "arguments"}) == {
        "name": "image_folder", "arguments": {"path": "images"},
    }  # fmt: skip
    assert "3 classes of 16 to 16 training examples: cat: 16, dog: 16, owl: 16" in out
    assert "path='images', size=32, padding=4, flip=True" in out
    assert "pixels between 0 and 1 are not normalised" in out
    data = catalogue.fetch(**run.settings("dataset"))
    metrics = evaluation.evaluate(network, data.train)
    assert f"best.pt, epoch 1, on 48 training examples: loss {metrics.loss:.2f}" in out
    assert "guessing gives 33" in out


def test_a_file_of_arrays_and_weights_of_several_epochs(folder, capsys):
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((120, 5)).astype(np.float32)
    np.savez("table.npz", inputs=inputs, labels=(inputs[:, 0] > 0).astype(int))
    (folder / "weights").mkdir()
    network = registry.build("mlp", num_classes=2, input_shape=(5,), hidden=[4], seed=0)
    for epoch in (2, 9, 10, 40):
        safetensors.torch.save_file(network.state_dict(), f"weights/at-{epoch:03d}.safetensors")
    flags = ["--data", "table.npz", "--model", "mlp", "--model-arg", "hidden=[4]"]
    flags += ["--weights", "weights/at-{epoch}.safetensors", "--run", "table"]
    assert init(*flags) == 0
    run, _, text = written(capsys, Path("table.yaml"))
    assert (run.checkpoints, run.epochs) == ("weights/at-{epoch:03}.safetensors", [2, 9, 10, 40])
    place, where = run.place
    assert place.file(where, 9) == "weights/at-009.safetensors"
    assert run.augmentation is None
    assert "Off, since these inputs have no crops or mirror images." in text
    assert run.batch.sizes == [4, 16]
    assert init(*flags, "--epochs", 9, "--force") == 0
    assert written(capsys, Path("table.yaml"))[0].epochs == [9]


def test_a_network_and_a_loss_of_ones_own(own, folder, capsys):
    flags = ["--data", "digits", "--model", "own_init.py:make", "--train", "--quick"]
    assert init(*flags, "--loss", "own_init:smoothed") == 0
    run, out, _ = written(capsys, Path("digits-make.yaml"))
    assert (run.model.name, run.loss) == ("own_init:make", "own_init:smoothed")
    assert f"P = {64 * 4 + 4 + 4 * 10 + 10} parameters: 1 260, 3 50" in out


def test_numbers_to_predict_have_the_loss_of_regression(folder, capsys):
    inputs = np.random.default_rng(0).standard_normal((90, 3)).astype(np.float32)
    np.savez("line.npz", inputs=inputs, targets=inputs @ np.ones((3, 2), np.float32))
    network = registry.build("mlp", num_classes=2, input_shape=(3,), hidden=[4], seed=0)
    torch.save(network.state_dict(), "best.pt")
    flags = ["--data", "line.npz", "--model", "mlp", "--model-arg", "hidden=[4]"]
    assert init(*flags, "--weights", "best.pt") == 0
    run, out, _ = written(capsys, Path("line-mlp.yaml"))
    assert run.loss == "mse"
    train = catalogue.fetch(**run.settings("dataset")).train
    with torch.no_grad():
        value = F.mse_loss(network(train.inputs), train.targets).item()
        explained = 1 - value / train.targets.var(0, correction=0).mean().item()
    assert (
        f"on 72 training examples: loss {text.number(value)}, R² {text.number(explained)}; "
        "guessing gives 0" in out
    )


def test_tokens_that_are_their_own_targets_have_the_loss_of_language_models(own, folder, capsys):
    flags = ["--data", "own_init:tokens", "--data-arg", "count=60", "--train", "--quick"]
    assert init(*flags, "--model", "own_init:Language") == 0
    run, out, _ = written(capsys, Path("tokens-Language.yaml"))
    assert (run.loss, run.dataset.arguments) == ("next_token", {"count": 60})
    assert "arguments of the source: count=60" in out
    assert f"P = {11 * 3 + 3 * 11 + 11} parameters: embedding 33, head 44" in out


def test_a_loss_has_arguments(folder, capsys):
    flags = [*SMALL, "--train", "--run", "mine", "--loss", "cross_entropy"]
    assert init(*flags, "--loss-arg", "label_smoothing=0.1") == 0
    run, _, text = written(capsys, Path("mine.yaml"))
    assert run.loss.model_dump() == {"name": "cross_entropy", "label_smoothing": 0.1}
    assert "loss: {name: cross_entropy, label_smoothing: 0.1}" in text
    sentence = refused(capsys, *flags, "--loss-arg", "smoothing=0.1", "--force")
    assert "loss cross_entropy" in sentence
    assert "smoothing" in sentence


def test_weights_that_recognise_nothing_are_told_of(folder, capsys):
    network = registry.build("mlp", num_classes=10, input_shape=(1, 8, 8), hidden=[6], seed=0)
    torch.save(network.state_dict(), "best.pt")
    assert init(*SMALL, "--weights", "best.pt") == 0
    assert "Warning: that is no better than guessing" in capsys.readouterr().out


def test_nothing_is_replaced_unless_asked_to(folder, capsys):
    (folder / "mine.yaml").write_text("kept")
    flags = [*SMALL, "--train", "--output", "mine.yaml"]
    assert "mine.yaml is there already; give another file, or --force" in refused(capsys, *flags)
    assert (folder / "mine.yaml").read_text() == "kept"
    assert init(*flags, "--force") == 0
    assert written(capsys, Path("mine.yaml"))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model", "mlp", "--train"], "--data is missing"),
        (["--data", "digits", "--train"], "--model is missing"),
        (["--data", "digits", "--model", "mlp"], "--weights or --train is missing"),
        (["--data", "digts", "--model", "mlp"], "got 'digts'; did you mean 'digits'?"),
        (["--data", "absent.npz", "--model", "mlp"], "there is no file or folder absent.npz"),
        (["--data", "own_init.py", "--model", "mlp"], "own_init.py is no data that tensors or"),
        (["--data", "tensors", "--model", "mlp"], "arguments of tensors are path, padding, flip"),
        (["--data", "digits", "--data-arg", "size=3"], "arguments of digits are none"),
        (["--data", "digits", "--data-arg", "size"], "--data-arg must be KEY=VALUE, got 'size'"),
        (["--data", "digits", "--mean", "1", "2"], "mean must have one value for each channel"),
        (["--data", "digits", "--train-examples", "1"], "data: train_examples must be at least 2"),
        ([*SMALL, "--model", "mpl"], "got 'mpl'; did you mean 'mlp'?"),
        ([*SMALL, "--model", "resnet18"], "torchvision has one: --model torchvision:resnet18"),
        ([*SMALL, "--model-arg", "hiden=3"], "got 'hiden'; did you mean 'hidden'?"),
        ([*SMALL, "--model-arg", "num_classes=3"], "num_classes cannot be set, because the data"),
        ([*SMALL, "--model", "own_init:mak"], "module own_init has no 'mak'; did you mean 'make'?"),
        (
            [*SMALL, "--parameters", "head.*"],
            "no parameter matches ['head.*']; the network has layers.1.weight",
        ),
        ([*SMALL, "--loss", "cross-entropy"], "did you mean 'cross_entropy'?"),
        ([*SMALL, "--train", "--device", "cuda:7"], "needs a GPU and PyTorch sees none"),
        ([*SMALL, "--train", "--run", "a b"], "the name of a run must match"),
        ([*SMALL, "--train", "--run", "digits-vgg"], "digits-vgg is a run of"),
        (
            [*SMALL, "--train", "--steps", "9999"],
            "spectrum.steps is 9999, but the network has only",
        ),
        ([*SMALL, "--train", "--batch-sizes", "9999"], "batch.sizes contains 9999"),
        (
            [*SMALL, "--weights", "absent.pt"],
            "there is no file absent.pt; did you mean present.pt?",
        ),
        ([*SMALL, "--weights", "no/{epoch}.pt"], "of any epoch, and no folder no"),
        (
            [*SMALL, "--weights", "weights"],
            "weights is a folder; name a file, or a pattern such as",
        ),
        ([*SMALL, "--weights", "w.pkl"], "--weights names a pickle"),
        ([*SMALL, "--weights", "present.pt", "--epochs", "1", "2"], "--weights names one file"),
        ([*SMALL, "--weights", "weights/{epoch}.pt", "--epochs", "4"], "there are 3"),
        ([*SMALL, "--weights", "present.pt"], "present.pt does not fit the model"),
        ([*SMALL, "--weights", "three.pt"], "the weights are for 3 classes and the data have 10"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(own, folder, capsys, flags, sentence):
    torch.save({"x": torch.zeros(3)}, "present.pt")
    three = registry.build("mlp", num_classes=3, input_shape=(1, 8, 8), hidden=[6], seed=0)
    torch.save(three.state_dict(), "three.pt")
    (folder / "weights").mkdir()
    torch.save(three.state_dict(), "weights/3.pt")
    assert sentence in refused(capsys, *flags)
    assert not list(folder.glob("*.yaml"))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("own_init:few", "model own_init:few gives 7 outputs, and the data have 10 classes"),
        ("own_init:broken", "cannot be built from its arguments (RuntimeError: no such thing)"),
    ],
)
def test_networks_that_do_not_go_with_the_data_are_refused(own, capsys, model, sentence):
    flags = ["--data", "digits", "--quick", "--train", "--model", model]
    assert sentence in refused(capsys, *flags)


def test_a_network_that_takes_other_inputs_is_refused(folder, capsys):
    np.savez("t.npz", inputs=np.zeros((40, 5), np.float32), labels=np.arange(40) % 2)
    text = refused(capsys, "--data", "t.npz", "--model", "preresnet", "--train")
    assert "model preresnet with this loss cannot be evaluated on these data" in text
    assert "inputs of shape (5,)" in text


def test_a_layer_without_second_derivative_is_named(images, capsys):
    flags = ["--data", images, "--model", "torchvision:mobilenet_v3_small", "--train", "--quick"]
    assert "second derivatives, which the layer 'classifier.1'" in refused(capsys, *flags)


def test_in_a_terminal_the_rest_is_asked_for_and_wrong_answers_are_said(
    folder, capsys, monkeypatch
):
    answers = ["digts", "", "mpl", "mlp", "", "absent.pt", "train", "mine", ""]
    questions = []

    def answer(question):
        questions.append(question)
        return answers[len(questions) - 1]

    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(builtins, "input", answer)
    monkeypatch.setattr(talk.sys, "stdin", Terminal())
    monkeypatch.setattr(talk.sys.stdout, "isatty", lambda: True, raising=False)
    assert init("--quick") == 0
    run, out, _ = written(capsys, Path("mine.yaml"))
    assert run.model.name == "mlp"
    assert run.training is not None
    assert len(questions) == len(answers)
    assert questions[1] == "Which data (a name, a file or a folder) [digits]: "
    for sentence in ("did you mean 'digits'?", "did you mean 'mlp'?", "no file absent.pt"):
        assert sentence in out


class Terminal:
    """A standard input that somebody sits at."""

    def isatty(self):
        return True


def test_epochs_are_spread_over_all_that_there_are(folder):
    for epoch in range(0, 101, 10):
        (folder / f"{epoch}.pt").touch()
    (folder / "last.pt").touch()
    assert files.find("{epoch}.pt", None) == ("{epoch}.pt", [0, 20, 40, 60, 80, 100])
    assert files.find("{epoch}.pt", [30, 10]).paths() == {30: "30.pt", 10: "10.pt"}


@pytest.mark.parametrize("train", [1, 5, 16, 17, 63, 64, 100, 1000, 50000])
def test_batches_are_at_most_a_quarter_and_groups_divide_them(train):
    sizes = choices.batch_sizes(train)
    assert all(4 <= size <= max(train // 4, 4) for size in sizes)
    assert bool(sizes) == (train >= 16)
    for test in (40, 7):
        group = choices.group_size(sizes, train, test)
        assert all(size % group == 0 for size in sizes) if group else train < 2
        assert 2 * group <= min(train, test)


def test_what_was_written_runs(folder, capsys):
    """Weights in one file of one's own, to the spectra; to the report see test_examples.py."""
    network = registry.build("mlp", num_classes=10, input_shape=(1, 8, 8), hidden=[4], seed=0)
    torch.save(network.state_dict(), "best.pt")
    flags = ["--data", "digits", "--model", "mlp", "--model-arg", "hidden=[4]", "--quick"]
    flags += ["--weights", "best.pt", "--run", "mine", "--steps", 6]
    assert init(*flags, "--train-examples", 96, "--test-examples", 64) == 0
    run, *_ = written(capsys, Path("mine.yaml"))
    spectra = "results/mine/spectra/1/full.npz"
    done = snakemake(folder, "--configfile", "mine.yaml", "--cores", "1", "--", spectra)
    assert done.returncode == 0, done.stderr
    assert (folder / spectra).exists()
    assert run.epochs == [1]
