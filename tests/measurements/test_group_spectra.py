"""Spectra of diagonal blocks, measured together."""

import functools
import json

import numpy as np
import pytest
import torch
from cases import Convolutional, Smooth, examples, network
from dense import dense_hessian

import truehessian as th
from truehessian.data import dataset as datasets
from truehessian.measurements import blocks, source
from truehessian.networks import checkpoints, registry
from truehessian.operators import GGN, DiagonalBlocks, Hessian
from truehessian.operators.mean import NetworkOperator
from truehessian.pipeline.config import checks
from truehessian.pipeline.config.settings import GroupSettings
from truehessian.spectra import density, lockstep, spectrum, stacks
from truehessian.spectra.recurrence import Journal

GROUPS = {"front": ["conv.*"], "norm": ["norm.*"], "head": ["head.weight"]}
SIZES = {"front": 20, "norm": 4, "head": 24}


def dense_block(model, data, name):
    matrix = dense_hessian(model, *data)
    prefix = {"front": "conv.", "norm": "norm.", "head": "head.weight"}[name]
    names = [key for key, p in model.named_parameters() for _ in range(p.numel())]
    mask = torch.tensor([key.startswith(prefix) for key in names])
    return matrix[mask][:, mask]


@pytest.fixture
def model():
    return network(Convolutional)


@pytest.fixture
def operator(model):
    return DiagonalBlocks(Hessian(model, examples(8), precision="float64", chunk_size=3), GROUPS)


def test_all_steps_find_the_eigenvalues_and_the_trace_of_every_block(model):
    measured = th.group_spectra(
        model, examples(8), groups=GROUPS, steps=24, probes=2, precision="float64"
    )
    assert list(measured) == list(GROUPS)
    for name, own in measured.items():
        exact = torch.linalg.eigvalsh(dense_block(model, examples(8), name)).numpy()
        for probe in range(2):
            found = own.ritz_values[probe]
            assert found[np.isfinite(found)] == pytest.approx(exact, abs=1e-10)
        assert own.metadata["num_parameters"] == SIZES[name]
        assert own.metadata["steps_done"] == [SIZES[name]] * 2
        assert density.trace_by_moments(own).value == pytest.approx(exact.sum(), abs=1e-10)


def test_blocks_are_those_of_operators_that_are_restricted_to_them(operator, model):
    """From the same start vector, a recurrence of its own gives the same values."""
    stack = blocks.measure(operator, steps=6, probes=2, seed=3)
    for number, (name, own) in enumerate(stacks.by_group(stack).items()):
        alone = Hessian(model, examples(8), precision="float64", parameters=GROUPS[name])
        expected, _ = source.measure(
            alone, steps=min(6, SIZES[name]), probes=2, seed=3, purpose="groups", numbers=[number]
        )
        real = np.isfinite(own.ritz_values)
        assert own.ritz_values[real] == pytest.approx(expected.ritz_values.ravel(), abs=1e-9)


def test_all_groups_share_the_passes_over_the_data(operator, monkeypatch):
    """As many as the longest recurrence has steps; vectors of those that are done are left out."""
    sizes, asked = [], []
    products, multiply = NetworkOperator.chunk_products, operator.products
    monkeypatch.setattr(
        NetworkOperator,
        "chunk_products",
        lambda self, block: sizes.append(len(block)) or products(self, block),
    )

    def counting(vectors):
        vectors = list(vectors)
        asked.append([name for name, _ in vectors])
        return multiply(vectors)

    monkeypatch.setattr(operator, "products", counting)
    blocks.measure(operator, steps=7, seed=0)
    assert sizes == [1] * 7
    assert asked == [["front", "norm", "head"]] * 4 + [["front", "head"]] * 3


def test_bases_take_as_much_as_those_of_one_matrix(operator, monkeypatch):
    shapes = []
    allocate = lockstep.placement.allocate_each
    monkeypatch.setattr(
        lockstep.placement,
        "allocate_each",
        lambda own, *how: shapes.extend(own) or allocate(own, *how),
    )
    blocks.measure(operator, steps=7, seed=0)
    assert shapes == [(7, 20), (4, 4), (7, 24)]


def test_a_killed_measurement_goes_on_to_the_same_bits(model, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "Journal", functools.partial(Journal, interval=0))

    def operator():
        return DiagonalBlocks(Hessian(model, examples(8), precision="float64"), GROUPS)

    expected = blocks.measure(operator(), steps=9, probes=2, seed=1)
    dying, left = operator(), [5]
    multiply = dying.products

    def killed(vectors):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return multiply(vectors)

    monkeypatch.setattr(dying, "products", killed)
    with pytest.raises(KeyboardInterrupt):
        blocks.measure(dying, steps=9, probes=2, seed=1, state=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    resumed, calls = operator(), []
    multiply_again = resumed.products
    monkeypatch.setattr(
        resumed, "products", lambda vectors: calls.append(1) or multiply_again(vectors)
    )
    again = blocks.measure(resumed, steps=9, probes=2, seed=1, state=tmp_path)
    assert len(calls) == 1 + 9 - 5
    for name in ("ritz_values", "weights", "diagonal", "off_diagonal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(expected, name))
    other = DiagonalBlocks(GGN(model, examples(8), precision="float64"), GROUPS)
    with pytest.raises(ValueError, match="begun with another matrix"):
        blocks.measure(other, steps=9, probes=2, seed=1, state=tmp_path)


def smooth(kind):
    """Blocks that are of full rank, with eigenvalues of many sizes."""
    return DiagonalBlocks(kind(network(Smooth), examples(40), precision="float64"), "layers")


def test_each_group_stops_by_itself():
    stack = blocks.measure(smooth(Hessian), steps=30, seed=0, tolerance=1e-2)
    done = [steps for (steps,) in stack.metadata["steps_done"]]
    assert len(set(done)) > 1
    assert max(done) < 30
    for number, steps in enumerate(done):
        assert np.isfinite(stack.ritz_values[number, 0]).sum() == steps


def test_the_file_says_what_was_measured_and_gives_the_groups_in_their_order(operator, tmp_path):
    stack = blocks.measure(operator, steps=5, probes=2, seed=2, epoch=3, split="train")
    spectrum.save(tmp_path / "groups.npz", stack)
    again = spectrum.load(tmp_path / "groups.npz")
    assert again.metadata == stack.metadata == json.loads(json.dumps(stack.metadata))
    assert again.ritz_values.shape == (3, 2, 5)
    told = {"operator": "hessian", "epoch": 3, "groups": [*GROUPS], "probes": 2, "seed": 2}
    assert told.items() <= again.metadata.items()
    assert again.metadata["group_parameters"] == list(SIZES.values())
    assert again.metadata["num_parameters"] == 57
    assert "folds" not in again.metadata
    parts = stacks.by_group(again)
    assert {name: own.metadata["num_parameters"] for name, own in parts.items()} == SIZES
    assert parts["norm"].metadata["steps_done"] == [4, 4]
    assert parts["head"].metadata["numbers"] == [2]


def test_only_the_largest_end_of_a_semidefinite_matrix_has_to_converge():
    operator = smooth(GGN)
    assert operator.semidefinite
    found = [
        blocks.measure(operator, steps=15, seed=0, tolerance=1e-2, ends=ends).metadata["steps_done"]
        for ends in (None, ["largest"], ["largest", "smallest"])
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_factory_says_what_is_trained_and_checkpoints_keep_to_it(tmp_path, monkeypatch):
    """As of a large model with adapters: weights are loaded into what the factory has frozen."""
    (tmp_path / "adapted_net.py").write_text(
        "from torch import nn\n\ndef make(num_classes, input_shape):\n"
        "    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, num_classes))\n"
        "    model[1].requires_grad_(False)\n    return model\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = {"name": "adapted_net:make", "num_classes": 10, "input_shape": [1, 8, 8]}
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("checkpoint", "dataset")]
    model = registry.build(**made, seed=1)
    checkpoints.save(paths[0], model, metadata={"model": made, "epoch": 0})
    datasets.save(paths[1], th.data.fetch("digits", train_examples=32, test_examples=8))
    run = {
        "dataset": {"name": "digits", "train_examples": 32, "test_examples": 8},
        "model": {"name": "adapted_net:make"},
        "training": {"epochs": 1},
        "epochs": [0],
        "parameters": "trainable",
        "spectrum": {"precision": "float64", "device": "cpu"},
        "groups": {},
    } | dict.fromkeys(("batch", "variance"))
    settings = checks.check({"runs": {"run": run}, "analyse": ["run"]}).runs["run"]
    how = GroupSettings.model_validate(settings.settings("groups"))
    loaded = source.Source.load(*paths, how, made)
    whole = loaded.operator(Hessian, loaded.dataset.train)
    assert whole.describe()["num_parameters"] == 60
    assert whole.describe()["num_left_out"] == 65 * 5
    named = Hessian(model, loaded.dataset.train, parameters=["2.*"], precision="float64")
    vector = torch.randn(60, dtype=torch.float64)
    torch.testing.assert_close(whole @ vector, named @ vector)
    assert list(DiagonalBlocks(whole, how.groups).groups) == ["2"]
