"""Networks with inputs by name on a user's own data, from a configuration to the report."""

import textwrap
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from test_workflow import snakemake

from truehessian.data import dataset
from truehessian.networks import checkpoints, registry
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.checks import check
from truehessian.spectra import spectrum

MODULE = '''
    from pathlib import Path

    import torch
    from torch import nn


    class Sentences(torch.utils.data.Dataset):
        """Sentences of tokens 1 .. 6, padded with 0, and whether they hold the token 3."""

        def __init__(self, count, seed):
            draw = torch.Generator().manual_seed(seed)
            self.ids = torch.randint(1, 7, (count, 5), generator=draw)
            self.lengths = torch.randint(2, 6, (count,), generator=draw)
            self.classes = ["without", "with"]

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, number):
            mask = torch.arange(5) < self.lengths[number]
            ids = self.ids[number] * mask
            inputs = {"input_ids": ids, "attention_mask": mask.long()}
            return {**inputs, "labels": int((ids == 3).any())}


    def sentences(count=48):
        with Path("calls.txt").open("a") as file:
            file.write("called\\n")
        return Sentences(count, 0), Sentences(24, 1)


    def tokens():
        """The same for a language model, whose padding is ignored."""
        sets = []
        for part in (Sentences(48, 0), Sentences(24, 1)):
            ids, mask = (torch.stack([row[key] for row in part])
                         for key in ("input_ids", "attention_mask"))
            labels = ids.where(mask.bool(), -100)
            sets.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
        return {"train": sets[0], "test": sets[1], "num_classes": 7}


    class Words(nn.Module):
        """A mean of embeddings, with and without attention."""

        def __init__(self, num_classes, width=4):
            super().__init__()
            self.embedding = nn.Embedding(7, width)
            self.hidden = nn.Linear(width, width)
            self.out = nn.Linear(width, num_classes)

        def forward(self, input_ids, attention_mask):
            hidden = self.hidden(self.embedding(input_ids)).tanh()
            shown = attention_mask[..., None].to(hidden.dtype)
            return {"logits": self.out((hidden * shown).sum(1) / shown.sum(1))}
'''
REPLACED = '''
    import torch


    def replaced(inputs, generator):
        """Another token at a place of each sentence."""
        place = torch.randint(2, (1,), generator=generator)
        inputs["input_ids"][place] = torch.randint(1, 7, (1,), generator=generator)
        return inputs
'''
CONFIG = """
analyse: [own]
runs:
  own:
    dataset: {name: "own_words:sentences"}
    model: {name: "own_words:Words"}
    training: {epochs: 2, batch_size: 16, device: cpu}
    epochs: [2]
    spectrum: {steps: 8, ggn_steps: 6, vectors: 3, chunk_size: 16, device: cpu}
    batch: {sizes: [16], folds: 2, steps: 6, noise_steps: 4}
    variance: {random_directions: 1, leak_vectors: 2, group_size: 8, held_out_steps: 4}
"""


def settings(text: str = CONFIG, **changes):
    config = yaml.safe_load(text)
    config["runs"]["own"] |= changes
    return config


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_words.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "own_words_replaced.py").write_text(textwrap.dedent(REPLACED))
    return tmp_path


def run(folder: Path, config: dict, *arguments: str) -> str:
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(folder, "--configfile", "mine.yaml", "--cores", "2", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def compare(folder: Path, config: dict, monkeypatch) -> None:
    """The largest Ritz value is a quotient of the Hessian that a program of one's own makes."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    results = folder / "results/own"
    own = check(config).runs["own"]
    model = checkpoints.load(results / "checkpoints/2.safetensors", model=own.network)
    data = dataset.load(results / "dataset.safetensors")
    assert set(data.train.inputs) == {"input_ids", "attention_mask"}
    full = spectrum.load(results / "spectra/2/full.npz")
    hessian = Hessian(model, data.train, loss=own.loss, precision="float64")
    dense = hessian @ torch.eye(hessian.num_params, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(dense)
    assert full.metadata["num_parameters"] == len(eigenvalues)
    assert full.ritz_values.max() == pytest.approx(eigenvalues[-1].item(), rel=0.05)
    assert full.ritz_values.max() <= eigenvalues[-1].item() * (1 + 1e-4)
    table = pd.read_csv(results / "tables/extremal_ritz_values.csv")
    assert {"train", "test"} == set(table["split"])
    assert (results / "tables/theory_vs_empirical.csv").is_file()
    assert (results / "variance/2.csv").is_file()
    assert (folder / "results/report.html").is_file()


@pytest.mark.slow
def test_a_module_with_inputs_by_name_is_trained_measured_and_reported(folder, monkeypatch):
    run(folder, settings())
    assert not list((folder / "results/own").rglob("augmented-*"))
    calls = (folder / "calls.txt").read_text().split()
    assert len(calls) == 2, "by the process that starts the jobs, and by the one that writes data"
    compare(folder, settings(), monkeypatch)
    assert "Nothing to be done" in run(folder, settings(), "--dry-run")

    augmented = settings()
    augmented["runs"]["own"]["dataset"]["augmentation"] = "own_words_replaced:replaced"
    augmented["runs"]["own"]["augmentation"] = {"factors": [{"factor": 2, "steps": 5}]}
    before = spectrum.load(folder / "results/own/spectra/2/full.npz")
    said = run(folder, augmented)
    assert "prepare_dataset" not in said, "the data are those before they are augmented"
    double = spectrum.load(folder / "results/own/spectra/2/augmented-2.npz")
    assert double.metadata["num_examples"] == 2 * before.metadata["num_examples"]
    after = spectrum.load(folder / "results/own/spectra/2/full.npz")
    assert (after.ritz_values != before.ritz_values).any(), "trained on other sentences"

    (folder / "own_words_replaced.py").write_text(
        textwrap.dedent(REPLACED).replace("torch.randint(2, (1,)", "torch.randint(1, (1,)")
    )
    planned = run(folder, augmented, "--dry-run")
    for stage, again in (("train_network", True), ("measure_augmented", True), ("prepare", False)):
        assert (stage in planned) == again, "its code counts where it is used"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "language model"])
def test_a_network_of_transformers_goes_from_ones_own_weights_to_the_report(
    folder, kind, monkeypatch
):
    pytest.importorskip("transformers")
    if kind == "classifier":
        model = {"name": "transformers:BertForSequenceClassification", "vocab_size": 7}
        model |= {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
        model |= {"intermediate_size": 4, "max_position_embeddings": 5}
        config = settings(model=model)
    else:
        model = {"name": "transformers:GPT2LMHeadModel", "n_embd": 4, "n_layer": 1, "n_head": 2}
        model |= {"n_positions": 5, "bos_token_id": 0, "eos_token_id": 0}
        config = settings(model=model, loss="next_token", dataset={"name": "own_words:tokens"})
    config["runs"]["own"] |= {"training": None, "checkpoints": "weights-{epoch}.pt"}
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    network = registry.build(**check(config).runs["own"].network, seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
            )
    torch.save({"model": network.model.state_dict(), "epoch": 2}, folder / "weights-2.pt")
    run(folder, config)
    compare(folder, config, monkeypatch)
