"""What docs/own_data.md shows works as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from truehessian.data import catalogue, own_augmentation
from truehessian.networks import build
from truehessian.pipeline.config import checks

PAGE = (Path(__file__).parents[1] / "docs/own_data.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all files of the page."""
    for name, text in re.findall(r"```\w+\n# ([\w.]+)\n(.*?)```", PAGE, flags=re.DOTALL):
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(folder, name):
    config = yaml.safe_load((folder / f"{name}.yaml").read_text())
    configuration = checks.check(config)
    checks.check_networks(configuration)
    return configuration.runs[name]


def test_sentences_are_read_given_to_their_network_and_augmented(folder):
    run = run_of(folder, "sentences")
    assert [item.factor for item in run.augmentation.factors] == [4]
    data = catalogue.fetch(**run.dataset.reading)
    assert (len(data.train), len(data.test), data.num_classes) == (512, 256, 2)
    assert data.input_shape == {"input_ids": (12,), "attention_mask": (12,)}
    inputs, labels = data.train.batch(slice(0, 5))
    network = build(**run.network, seed=0)
    assert network(**inputs).shape == (5, 2)
    assert labels.dtype == torch.int64
    function = own_augmentation.named(run.dataset.augmentation)
    made = own_augmentation.augmented(data.train, 1, function, seed=0)
    changed = (made.inputs["input_ids"] != data.train.inputs["input_ids"]).sum(1)
    assert set(changed.tolist()) == {0, 1}


def test_a_table_counts_by_its_file(folder):
    (folder / "numbers.csv").write_text("".join(f"{i},{2 * i},{i / 2}\n" for i in range(10)))
    settings = {"name": "tables:table", "arguments": {"path": "numbers.csv"}}
    data = catalogue.fetch(**settings)
    assert (data.num_classes, data.input_shape) == (1, (2,))
    assert (data.train.targets == data.train.inputs[:, 0] / 2).all()
    assert list(catalogue.origin(settings).files) == ["numbers.csv"]


def test_a_language_model_has_the_vocabulary_that_is_said(folder):
    pytest.importorskip("transformers")
    ids = np.random.default_rng(0).integers(1, 9, (400, 12))
    mask = np.arange(12) < 3 + np.arange(400)[:, None] % 9
    content = {"inputs.input_ids": ids * mask, "inputs.attention_mask": mask.astype("int64")}
    np.savez(folder / "tokens.npz", **content, targets=np.where(mask, ids, -100))
    run = run_of(folder, "gpt2")
    data = catalogue.fetch(**run.dataset.reading)
    inputs, _ = data.test.batch(slice(0, 3))
    assert build(**run.network, seed=0)(**inputs).shape == (3, 12, 100)
