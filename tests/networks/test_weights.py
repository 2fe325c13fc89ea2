"""Files of `torch.save`: state dicts are read, code is not run, and the rest is refused."""

import argparse
import collections
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from truehessian.networks import state_dicts, weights


class Trap:
    """Touches a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def written(folder, content, **how):
    torch.save(content, folder / "w.pt", **how)
    return folder / "w.pt"


def refusal(path):
    with pytest.raises(ValueError, match=f"^{path} ") as error:
        weights.read(path)
    text = str(error.value)
    assert "\n" not in text
    assert "\x1b" not in text
    assert "weights_only" not in text
    return text


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("of", [nn.Module.state_dict, lambda net: dict(net.named_parameters())])
def test_tensors_come_back_by_their_names(tmp_path, of, zipped):
    model = network()
    path = written(tmp_path, of(model), _use_new_zipfile_serialization=zipped)
    tensors = weights.read(path)
    assert tensors.keys() == of(model).keys()
    assert all(tensor.equal(of(model)[name]) for name, tensor in tensors.items())
    assert not any(tensor.requires_grad for tensor in tensors.values())


def test_a_file_is_the_same_after_its_weights_are_changed(tmp_path):
    """They may be read from the disk when they are used, and are never written to it."""
    path = written(tmp_path, network().state_dict())
    before = path.read_bytes()
    for tensor in weights.read(path).values():
        tensor.zero_()
    assert path.read_bytes() == before


def test_whatever_else_training_keeps_is_passed_over(tmp_path, caplog):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    states = {"model": nn.DataParallel(model).state_dict(), "optimizer": optimizer.state_dict()}
    path = written(tmp_path, {**states, "epoch": 3, "classes": ["a", "b"], "best": None})
    target = network()
    state_dicts.load(target, weights.read(path), path)
    assert all(t.equal(model.state_dict()[name]) for name, t in target.state_dict().items())
    assert "only names under model.module. are taken, not optimizer.state.0.step" in caplog.text


def test_a_choice_between_weights_is_left_to_their_owner(tmp_path):
    state = network().state_dict()
    averaged = {name: tensor.clone() for name, tensor in state.items()}
    path = written(tmp_path, {"model": state, "ema": averaged})
    with pytest.raises(ValueError, match=r"several times, under ema\. and model\.; save only"):
        state_dicts.load(network(), weights.read(path), path)
    path = written(tmp_path, {"model": state, "state_dict": state})  # the same ones are no two
    state_dicts.load(network(), weights.read(path), path)


def test_mappings_that_hold_themselves_come_to_an_end(tmp_path):
    content = {"model": {"weight": torch.ones(1)}}
    content["self"] = content["model"]["self"] = content
    assert list(weights.read(written(tmp_path, content))) == ["model.weight"]


def test_no_code_is_run(tmp_path):
    path = written(tmp_path, {"model": network().state_dict(), "x": Trap(tmp_path / "touched")})
    assert "holds more than weights" in refusal(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        ({"accuracy": np.float64(1)}, "numpy"),
        ({"args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (collections.defaultdict(list), "collections.defaultdict"),
    ],
)
def test_what_is_more_than_weights_is_named_with_the_remedy(tmp_path, content, kind):
    text = refusal(written(tmp_path, content))
    assert f"holds more than weights ({kind}" in text
    assert text.endswith("save_model(model, 'w.safetensors')")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_other_formats_by_the_same_suffix_are_refused(tmp_path):
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    assert "holds more than weights (TorchScript)" in refusal(path)
    tarfile.open(path, "w").close()
    assert "holds more than weights (legacy .tar)" in refusal(path)
    safetensors.torch.save_file(network().state_dict(), path)
    assert "or no state dict that torch.save wrote (UnpicklingError: Unsup" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps({"weight": 3}, protocol=4)])
def test_damage_is_a_sentence(tmp_path, content):
    path = written(tmp_path, network().state_dict())
    path.write_bytes(path.read_bytes()[:700])
    assert "is damaged" in refusal(path)
    path.write_bytes(content)
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1), {}, {"epoch": 3}, 7])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    assert f"holds a {type(content).__name__} without tensors" in refusal(
        written(tmp_path, content)
    )


def test_there_has_to_be_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*w\.pth"):
        weights.read(tmp_path / "w.pth")
