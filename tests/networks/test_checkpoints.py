import subprocess
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from truehessian.networks import checkpoints, registry

SETTINGS = {
    "name": "preresnet",
    "num_classes": 10,
    "input_shape": (1, 8, 8),
    "depth": 8,
    "width": 2,
}
METADATA = {
    "model": SETTINGS,
    "dataset": "digits",
    "normalisation": {"mean": [0.2873], "std": [0.3539]},
    "epoch": 3,
    "seed": 0,
}


@pytest.fixture
def model():
    """A network whose buffers differ from their initial values."""
    model = registry.build(**SETTINGS, seed=1)
    generator = torch.Generator().manual_seed(0)
    model(torch.randn(4, 1, 8, 8, generator=generator))
    return model


@pytest.fixture
def path(model, tmp_path):
    checkpoints.save(tmp_path / "3.safetensors", model, metadata=METADATA)
    return tmp_path / "3.safetensors"


def test_a_checkpoint_rebuilds_the_same_function_in_evaluation_mode(model, path):
    loaded = checkpoints.load(path)
    inputs = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert not loaded.training
    assert loaded(inputs).equal(model.eval()(inputs))
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].equal(tensor)


def test_metadata_come_back_as_they_went(path):
    expected = {**METADATA, "model": {**SETTINGS, "input_shape": [1, 8, 8]}}
    assert checkpoints.read_metadata(path) == expected


def test_loading_leaves_the_global_generator_alone(path):
    before = torch.random.get_rng_state()
    checkpoints.load(path)
    assert torch.random.get_rng_state().equal(before)


def test_another_process_writes_the_same_bytes(path, tmp_path):
    code = (
        "import sys; from truehessian.networks import checkpoints as c;"
        "source, target = sys.argv[1:];"
        "c.save(target, c.load(source), metadata=c.read_metadata(source))"
    )
    again = tmp_path / "again.safetensors"
    subprocess.run([sys.executable, "-c", code, str(path), str(again)], check=True)
    assert again.read_bytes() == path.read_bytes()


def test_a_failed_write_leaves_the_old_file_and_no_other(model, path, monkeypatch):
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(path, model, metadata={**METADATA, "epoch": 4})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_tied_weights_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    checkpoints.save(tmp_path / "tied.safetensors", model, metadata=METADATA)
    saved = safetensors.torch.load_file(tmp_path / "tied.safetensors")
    assert saved["1.weight"].equal(model[0].weight)


@pytest.mark.parametrize("keep", [0, 6, 500, -10])
def test_a_truncated_checkpoint_is_an_error_of_one_sentence(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    for read in (checkpoints.load, checkpoints.read_metadata):
        with pytest.raises(ValueError, match=r"3.safetensors is truncated or not a safetensors"):
            read(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*9.safetensors"):
        checkpoints.load(tmp_path / "9.safetensors")


def test_the_model_settings_are_required(model, tmp_path):
    for metadata in ({"epoch": 1}, {"model": {"name": "mlp"}}):
        with pytest.raises(ValueError, match=r"metadata must hold .* lacks input_shape"):
            checkpoints.save(tmp_path / "x.safetensors", model, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 14}, r"stages.0.1.convolutions.0.weight is missing.* and \d+ more"),
        ({"num_classes": 11}, r"classifier.weight has shape \(10, 8\) instead of \(11, 8\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(path, change, message):
    with pytest.raises(ValueError, match=message):
        checkpoints.load(path, model={**SETTINGS, **change})


def test_unexpected_weights_are_refused_by_name(tmp_path):
    small = {"name": "mlp", "num_classes": 2, "input_shape": [1, 1, 1], "hidden": [2]}
    big = registry.build(**{**small, "hidden": [2, 2]})
    checkpoints.save(tmp_path / "x.safetensors", big, metadata={"model": small})
    with pytest.raises(ValueError, match=r"layers\.5\.bias is not expected"):
        checkpoints.load(tmp_path / "x.safetensors")


@pytest.fixture
def own_settings(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(
        "from pathlib import Path\n"
        "from torch import nn\n"
        "Path(__file__).with_name('imported').touch()\n"
        "def make(num_classes, input_shape):\n"
        "    return nn.Linear(input_shape[0], num_classes)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    return {"name": "own_network:make", "num_classes": 2, "input_shape": [3, 1, 1]}


def test_a_file_cannot_have_code_imported(own_settings, tmp_path):
    path = tmp_path / "own.safetensors"
    model = nn.Linear(3, 2)
    checkpoints.save(path, model, metadata={"model": own_settings})
    with pytest.raises(ValueError, match="if you trust it, pass its settings as `model`"):
        checkpoints.load(path)
    assert not (tmp_path / "imported").exists()
    assert checkpoints.load(path, model=own_settings).weight.equal(model.weight)
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module."])
def test_a_plain_state_dict_is_converted(model, tmp_path, prefix):
    source, target = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    theirs = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(theirs, source)
    checkpoints.convert(source, target, model_settings=SETTINGS, metadata={"epoch": 7})
    assert checkpoints.read_metadata(target)["epoch"] == 7
    loaded = checkpoints.load(target).state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_a_plain_state_dict_is_not_taken_for_a_checkpoint(model, tmp_path):
    source = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(model.state_dict(), source, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="use `convert`"):
        checkpoints.load(source)
    safetensors.torch.save_file(model.state_dict(), source)
    with pytest.raises(ValueError, match=r"theirs.safetensors must hold the model settings"):
        checkpoints.load(source)


@pytest.mark.parametrize("name", ["7.pt", "7.pth", "7.ckpt", "7.bin", "7.pth.tar", "7.PTH"])
@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model", "module"), ("net", "_orig_mod")])
def test_what_torch_save_writes_is_converted(model, tmp_path, name, keys):
    theirs = model.state_dict()
    for key in keys[::-1]:
        theirs = {key: theirs, "epoch": 7, "args": {"lr": 0.1}}
    torch.save(theirs, tmp_path / name)
    target = tmp_path / "ours.safetensors"
    checkpoints.convert(tmp_path / name, target, model_settings=SETTINGS, metadata={})
    loaded = checkpoints.load(target).state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".PKL"])
def test_a_pickle_is_refused_with_the_way_to_save_weights(model, tmp_path, suffix):
    source = tmp_path / f"weights{suffix}"
    torch.save(model.state_dict(), source)
    with pytest.raises(ValueError, match=r"save_model\(model, 'weights.safetensors'\)"):
        checkpoints.convert(source, tmp_path / "x", model_settings=SETTINGS, metadata={})
    assert not (tmp_path / "x").exists()


def test_a_state_dict_of_another_network_is_refused(tmp_path):
    source = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({"module.fc.weight": torch.zeros(2, 2)}, source)
    with pytest.raises(ValueError, match=r"does not fit the model: stem.weight is missing"):
        checkpoints.convert(source, tmp_path / "x", model_settings=SETTINGS, metadata={})
