"""Regression, labels that do not exclude each other, and tokens: from a file to the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from test_workflow import snakemake

from truehessian import report
from truehessian.data import dataset as datasets
from truehessian.networks import checkpoints
from truehessian.spectra import spectrum

COUNT = 60
OWN = """
import torch.nn.functional as F
from torch import nn


class Language(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.embedding = nn.Embedding(num_classes, 2)
        self.head = nn.Linear(2, num_classes)

    def forward(self, input_ids):
        return {"logits": self.head(self.embedding(input_ids).tanh())}


def huber(outputs, targets, delta=1.0):
    return F.huber_loss(outputs.squeeze(1), targets, delta=delta)
"""
RUN = """
    training: {epochs: 2, batch_size: 16, learning_rate: 0.05, augment: false, device: cpu}
    epochs: [2]
    spectrum: {steps: 25, ggn_steps: 4, vectors: 2, chunk_size: 7, device: cpu}
    batch: null
    augmentation: null
    variance: null
"""
SMALL = "{name: mlp, hidden: [2]}"
CONFIG = f"""
analyse: [number, numbers, labels, tokens, huber]
runs:
  number:
    dataset: {{name: tensors, arguments: {{path: number.npz}}}}
    model: {SMALL}
    loss: mse
    {RUN.strip().replace("steps: 25", "steps: 11")}
  numbers:
    dataset: {{name: tensors, arguments: {{path: numbers.npz}}}}
    model: {SMALL}
    loss: mse
    {RUN.strip().replace("steps: 25", "steps: 14")}
  labels:
    dataset: {{name: tensors, arguments: {{path: labels.safetensors}}}}
    model: {SMALL}
    loss: {{name: binary_cross_entropy, ignore_index: -1, pos_weight: [2.0, 1.0]}}
    {RUN.strip().replace("steps: 25", "steps: 14")}
  tokens:
    dataset: {{name: tensors, arguments: {{path: tokens.npz}}}}
    model: {{name: "own_task:Language"}}
    loss: next_token
    {RUN.strip()}
  huber:
    dataset: {{name: tensors, arguments: {{path: number.npz}}}}
    model: {SMALL}
    loss: {{name: "own_task:huber", delta: 0.5}}
    {RUN.strip().replace("steps: 25", "steps: 11")}
"""
RUNS = ("number", "numbers", "labels", "tokens", "huber")


def write_data(folder: Path) -> None:
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((COUNT, 3)).astype(np.float32)
    numbers = inputs @ draw.standard_normal((3, 2)).astype(np.float32) + 2
    np.savez(folder / "number.npz", inputs=inputs, targets=numbers[:, 0])
    np.savez(folder / "numbers.npz", inputs=inputs, targets=numbers)
    labels = (numbers > 2).astype(np.float32)
    labels[draw.random(labels.shape) < 0.3] = -1
    labels[:5] = -1
    tensors = {"inputs": torch.tensor(inputs), "targets": torch.tensor(labels)}
    safetensors.torch.save_file(tensors, folder / "labels.safetensors")
    tokens = draw.integers(0, 5, (COUNT, 6))
    lengths = draw.integers(1, 7, COUNT)  # of a single token nothing is predicted
    wanted = np.where(np.arange(6) < lengths[:, None], tokens, -100)
    np.savez(folder / "tokens.npz", **{"inputs.input_ids": tokens, "targets": wanted})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder in which all of them have been trained, evaluated and analysed."""
    folder = tmp_path_factory.mktemp("tasks")
    write_data(folder)
    (folder / "own_task.py").write_text(OWN)
    (folder / "tasks.yaml").write_text(CONFIG)
    kinds = (
        "tables/extremal_ritz_values.csv",
        "tables/checkpoints.csv",
        "figures/learning_curves.svg",
    )
    targets = [f"results/{name}/{kind}" for name in RUNS for kind in kinds]
    run = snakemake(folder, *targets, "--configfile", "tasks.yaml", "--cores", "2")
    assert run.returncode == 0, run.stderr
    return folder


def value_of(name, outputs, y):
    """The loss as PyTorch's functions give it."""
    if name == "labels":
        known = y != -1
        factors = torch.tensor([2.0, 1.0], dtype=outputs.dtype)
        losses = F.binary_cross_entropy_with_logits(
            outputs, y.clamp(min=0), pos_weight=factors, reduction="none"
        )
        return losses[known].mean()
    if name == "tokens":
        return F.cross_entropy(outputs["logits"][:, :-1].flatten(0, 1), y[:, 1:].flatten())
    if name == "huber":
        return F.huber_loss(outputs.squeeze(1), y, delta=0.5)
    return F.mse_loss(outputs.reshape(y.shape), y)


def measured(name, outputs, y):
    """Name and value of the measure by its definition, in NumPy."""
    if name == "huber":
        return None
    if name == "tokens":
        y = y[:, 1:].numpy()
        right = outputs["logits"][:, :-1].argmax(-1).numpy() == y
        return "accuracy", right[y != -100].mean()
    f, y = outputs.reshape(y.shape).numpy(), y.numpy()
    if name == "labels":
        return "accuracy", ((f > 0) == (y == 1))[y != -1].mean()
    return "r_squared", 1 - ((y - f) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()


def problem(folder, name, split, monkeypatch):
    """Network in float64, inputs and targets of a split."""
    monkeypatch.syspath_prepend(str(folder))
    how = {
        "num_classes": 5,
        "input_shape": {"input_ids": [6]},
        "input_dtypes": {"input_ids": "int64"},
    }
    given = {"name": "own_task:Language", **how} if name == "tokens" else None
    path = folder / f"results/{name}/checkpoints/2.safetensors"
    model = checkpoints.load(path, model=given).double()
    data = getattr(datasets.load(folder / f"results/{name}/dataset.safetensors"), split)
    inputs, targets = data.batch(slice(None), torch.float64)
    return model, inputs, targets


def called(model, parameters, inputs):
    inputs = inputs if isinstance(inputs, dict) else {"x": inputs}
    positional = [inputs.pop("x")] if "x" in inputs else []
    return torch.func.functional_call(model, parameters, tuple(positional), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_loss_and_measure_are_those_of_the_definitions(done, name, monkeypatch):
    row = pd.read_csv(done / f"results/{name}/evaluation/2.csv").iloc[0]
    curve = pd.read_csv(done / f"results/{name}/training.csv")
    for split in ("train", "test"):
        model, inputs, y = problem(done, name, split, monkeypatch)
        with torch.no_grad():
            outputs = called(model, {}, inputs)
            loss = value_of(name, outputs, y).item()
        found = measured(name, outputs, y)
        assert row[f"{split}_loss"] == pytest.approx(loss, rel=1e-5)
        if found is not None:
            assert row[f"{split}_{found[0]}"] == pytest.approx(found[1], rel=1e-5, abs=1e-6)
    assert curve["test_loss"].iloc[-1] == pytest.approx(row["test_loss"], rel=1e-5)
    measure = [] if found is None else [found[0]]
    assert list(curve) == [
        *("epoch", "learning_rate", "train_loss", *(f"train_{each}" for each in measure)),
        *("test_loss", *(f"test_{each}" for each in measure), "seconds"),
    ]
    assert ("at_chance" in row) == bool(measure)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_spectrum_is_that_of_the_mean_over_what_counts(done, name, monkeypatch):
    """The extremes of as many steps as parameters, against the dense Hessian in float64."""
    model, inputs, y = problem(done, name, "train", monkeypatch)
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    sizes = [value.numel() for value in parameters.values()]

    def loss(vector):
        parts = zip(parameters.items(), vector.split(sizes), strict=True)
        values = {key: part.view_as(value) for (key, value), part in parts}
        given = dict(inputs) if isinstance(inputs, dict) else inputs
        return value_of(name, called(model, values, given), y)

    start = torch.cat([value.flatten() for value in parameters.values()])
    dense = torch.linalg.eigvalsh(torch.func.hessian(loss)(start))
    found = spectrum.load(done / f"results/{name}/spectra/2/full.npz")
    assert found.ritz_values.max() == pytest.approx(dense.max().item(), rel=1e-4)
    assert found.ritz_values.min() == pytest.approx(dense.min().item(), rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_the_page_says_what_was_measured(done):
    runs = report.collect(done / "results", RUNS)
    folder = Path(__file__).parents[2] / "workflow/report"
    page = report.render(runs, title="Tasks", template_folder=folder)
    assert page.count("Final test R²") == 2
    assert page.count("Final test accuracy") == 2
    assert page.count("Final test loss") == 1
    assert page.count("<strong>Loss and R² during training.</strong>") == 2
    assert page.count("<strong>Loss during training.</strong>") == 1
    assert "nan" not in page.split("</style>")[-1].split("<svg")[0]
