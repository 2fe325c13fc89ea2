"""Data, losses, matrices and places of a user's own, by import path, from a configuration."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch.nn.functional as F
import yaml
from test_workflow import snakemake

from truehessian.data import dataset
from truehessian.networks import build, checkpoints
from truehessian.pipeline.config.checks import ConfigError, check
from truehessian.spectra import spectrum

OWN = '''
import zipfile
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from truehessian.data.catalogue import DatasetInfo, Origin, digest_of_files
from truehessian.operators.ggn import GGN


class Table:
    """Rows of a CSV file, the label in a column."""

    def info(self, path, target):
        frame = pd.read_csv(path)
        return DatasetInfo(frame[target].nunique(), (frame.shape[1] - 1,), len(frame), None)

    def origin(self, settings):
        return Origin(digest_of_files({"table": Path(settings["arguments"]["path"])}), {})

    def read(self, settings):
        frame = pd.read_csv(settings["arguments"]["path"])
        target = frame.pop(settings["arguments"]["target"])
        inputs = torch.tensor(frame.to_numpy("float32"))
        return (inputs, torch.tensor(target.to_numpy("int64"))), None


class Archive:
    """Weights in a zip file."""

    def problems(self, where):
        if "!" not in where:
            yield "checkpoints.where must be ARCHIVE!NAME"

    def file(self, where, epoch):
        return None

    def version(self, where, epoch):
        archive, name = where.format(epoch=epoch).split("!")
        return str(zipfile.ZipFile(archive).getinfo(name).CRC)

    def fetch(self, where, epoch, folder):
        archive, name = where.format(epoch=epoch).split("!")
        return Path(zipfile.ZipFile(archive).extract(name, folder))


class Doubled(GGN):
    name = "doubled"

    def matmat(self, block):
        return 2 * super().matmat(block)


def elastic(outputs, targets):
    return F.cross_entropy(outputs, targets) + 0.5 * outputs.square().sum(1).mean()


TABLE, ARCHIVE = Table(), Archive()
'''
CONFIG = """
analyse: [trained, taken]
runs:
  trained: &run
    dataset:
      {name: "own_things:TABLE", test_fraction: 0.3, arguments: {path: iris.csv, target: target}}
    model: {name: mlp, hidden: [4]}
    loss: own_things:elastic
    training: {epochs: 1, batch_size: 32, device: cpu}
    epochs: [1]
    spectrum: {steps: 6, ggn_steps: 6, vectors: 2, device: cpu}
    operators:
      doubled: {operator: "own_things:Doubled", steps: 6}
      fisher: {operator: empirical_fisher, steps: 4}
      last: {operator: hessian, parameters: ["*3.*"], steps: 4}
    batch: null
    augmentation: null
    variance: null
  taken:
    <<: *run
    training: null
    checkpoints: {place: "own_things:ARCHIVE", where: "weights.zip!{epoch}.safetensors"}
    operators: {}
"""


def write_weights(folder: Path, seed: int) -> None:
    model = build("mlp", hidden=[4], num_classes=3, input_shape=(4,), seed=seed)
    safetensors.torch.save_model(model, folder / "1.safetensors")
    with zipfile.ZipFile(folder / "weights.zip", "w") as archive:
        archive.write(folder / "1.safetensors", "1.safetensors")


@pytest.fixture
def own(tmp_path):
    """A folder with a module of the user's own, data, weights and a configuration."""
    from sklearn.datasets import load_iris

    load_iris(as_frame=True).frame.to_csv(tmp_path / "iris.csv", index=False)
    write_weights(tmp_path, seed=3)
    (tmp_path / "own_things.py").write_text(OWN)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    targets = [f"results/{name}/tables/extremal_ritz_values.csv" for name in ("trained", "taken")]
    done = snakemake(folder, *targets, "--configfile", "mine.yaml", "--cores", "1", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_everything_of_ones_own_is_measured_and_counts_by_its_code(own):
    run(own)
    spectra = {
        name: spectrum.load(own / f"results/trained/spectra/1/{name}.npz")
        for name in ("full", "ggn", "doubled", "fisher")
    }
    assert spectra["full"].metadata["num_examples"] == 105
    model = checkpoints.load(own / "results/trained/checkpoints/1.safetensors")
    inputs, labels = dataset.load(own / "results/trained/dataset.safetensors").train.batch(
        slice(None)
    )
    outputs = model(inputs)
    loss = F.cross_entropy(outputs, labels) + 0.5 * outputs.square().sum(1).mean()
    evaluated = pd.read_csv(own / "results/trained/evaluation/1.csv")
    assert evaluated["train_loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    # The same matrix but for a factor, from another start vector; all its eigenvalues are reached.
    largest = {name: each.ritz_values.max() for name, each in spectra.items()}
    assert largest["doubled"] == pytest.approx(2 * largest["ggn"], rel=0.02)
    table = pd.read_csv(own / "results/trained/tables/extremal_ritz_values.csv")
    assert {"hessian", "ggn", "doubled", "fisher", "last"} == set(table["operator"])
    layer = spectrum.load(own / "results/trained/spectra/1/last.npz").metadata
    assert (layer["num_parameters"], layer["matrix"]) == (4 * 3 + 3, "hessian")
    before = (own / "results/taken/checkpoints/1.safetensors").read_bytes()
    assert "Nothing to be done" in run(own, "--dry-run")

    write_weights(own, seed=4)
    (own / "own_things.py").write_text(OWN.replace("2 * super", "3 * super"))
    run(own)
    assert (own / "results/taken/checkpoints/1.safetensors").read_bytes() != before
    tripled = spectrum.load(own / "results/trained/spectra/1/doubled.npz").ritz_values.max()
    assert tripled == pytest.approx(1.5 * largest["doubled"])


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("loss", "crossentropy", "runs.mine.loss: loss must be one of binary_cross"),
        (
            "operators",
            {"full": {"operator": "ggn"}},
            "operators.full has a name that another spectrum has",
        ),
        (
            "operators",
            {"a": {"operator": "ggn", "parameters": []}},
            "operators.a.parameters must not be empty",
        ),
        ("operators", {"fisher": {"operator": "fischer"}}, "operators.fisher.operator: operator"),
        ("operators", {"a b": {"operator": "ggn"}}, "a name in runs.mine.operators must"),
        ("operators", {"ggn2": {"operator": "ggn", "steps": 0}}, "ggn2.steps must be at least 1"),
        ("checkpoints", {"place": "moon", "where": "{epoch}"}, "place of checkpoints must be one"),
        ("checkpoints", {"place": "absent:X", "where": "{epoch}"}, "cannot import absent"),
        (
            "dataset",
            {"name": "absent:X"},
            "runs.mine.dataset: dataset absent:X: cannot import",
        ),
        (
            "dataset",
            {"name": "json:X"},
            "dataset json:X: module json has no 'X'",
        ),
        ("checkpoints", {"place": "files"}, "checkpoints"),
    ],
)
def test_what_is_wrong_with_things_of_ones_own_is_said_beforehand(path, value, sentence):
    run = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp"},
        "training": {"epochs": 1},
        "epochs": [1],
        path: value,
    }
    if path == "checkpoints":
        del run["training"]
    with pytest.raises(ConfigError) as error:
        check({"analyse": ["mine"], "runs": {"mine": run}})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def checked(folder: Path, config: dict) -> str:
    """What a configuration is refused with, or which of its sections are left."""
    code = (
        "import sys, yaml; from truehessian.pipeline.config import checks\n"
        "try: print(checks.check(yaml.safe_load(sys.stdin)).runs['trained'].sections.keys())\n"
        "except checks.ConfigError as error: print(error)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        input=yaml.safe_dump(config),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_data_without_channels_are_not_augmented_unless_by_ones_own_function(own):
    config = yaml.safe_load(CONFIG)
    run = config["runs"]["trained"]
    run["augmentation"] = {"factors": [{"factor": 2, "steps": 4}]}
    said = checked(own, config)
    assert "augmentation crops and mirrors images, and these data are none; set" in said
    del run["augmentation"]
    said = checked(own, config)
    assert "'dataset'" in said
    assert "'augmentation'" not in said
    run["dataset"]["augmentation"] = "own_things:elastic"
    assert "'augmentation'" in checked(own, config)
    run["dataset"]["augmentation"] = "own_things:elastics"
    assert "dataset: augmentation own_things:elastics: module own_things has no" in checked(
        own, config
    )
