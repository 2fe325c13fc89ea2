"""What checks find out is remembered as long as it is true, and not a moment longer."""

import json
import os
import time
from pathlib import Path

import pytest

from truehessian.pipeline.config import known, networks
from truehessian.pipeline.config.networks import NetworkFacts
from truehessian.pipeline.stage import fingerprint, installed, memory, origins, reading

NETWORK = {"name": "mlp", "hidden": [4], "num_classes": 10, "input_shape": [1, 8, 8]}
FACTORY = """
from pathlib import Path
from torch import nn
from {name}_layers import WIDTH

def make(num_classes, input_shape, path=None, folder=None):
    width = WIDTH if path is None else len(Path(path).read_text())
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, num_classes))
"""


@pytest.fixture(autouse=True)
def memories(tmp_path, monkeypatch):
    """A memory of its own, at first empty."""
    monkeypatch.setenv(memory.VARIABLE, str(tmp_path / "memory"))
    return tmp_path / "memory"


@pytest.fixture
def built(monkeypatch):
    """Settings of all networks that are really built."""
    settings = []
    real = networks.network_facts
    monkeypatch.setattr(networks, "network_facts", lambda s: settings.append(s) or real(s))
    return settings


@pytest.fixture
def own(tmp_path, monkeypatch, request):
    """Settings of a network of one's own, of two modules whose names no other test has."""
    name = f"known_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(FACTORY.format(name=name))
    (tmp_path / f"{name}_layers.py").write_text("WIDTH = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    return {"name": f"{name}:make", "num_classes": 10, "input_shape": [1, 8, 8]}


def test_a_network_is_built_once(built):
    first, again = known.network_facts(NETWORK), known.network_facts(dict(NETWORK))
    assert first == again == networks.network_facts(NETWORK)
    assert isinstance(again, NetworkFacts)
    assert len(built) == 2  # and once in the line above


@pytest.mark.parametrize(
    "change", [{"hidden": [5]}, {"num_classes": 3}, {"input_shape": [1, 8, 9]}, {"name": "vgg"}]
)
def test_another_network_is_built(built, change):
    known.network_facts(NETWORK)
    other = {**NETWORK, **change}
    if "name" in change:
        del other["hidden"]
    known.network_facts(other)
    assert built == [NETWORK, other]


def test_a_change_of_any_module_that_has_a_part_is_seen(built, own, tmp_path):
    known.network_facts(own)
    known.network_facts(own)
    assert len(built) == 1
    path = tmp_path / f"{own['name'].partition(':')[0]}_layers.py"
    path.write_text("# a comment\nWIDTH = 3\n")
    known.network_facts(own)
    assert len(built) == 1
    path.write_text("WIDTH = 4  # another\n")
    known.network_facts(own)
    assert len(built) == 2


@pytest.mark.parametrize("kind", ["path", "folder"])
def test_a_change_of_a_file_that_an_argument_names_is_seen(built, own, tmp_path, kind):
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights/widths.txt"
    file.write_text("..")
    settings = {**own, kind: str(file if kind == "path" else file.parent)}
    known.network_facts(settings)
    known.network_facts(settings)
    assert len(built) == 1
    file.write_text("...")
    assert known.network_facts(settings).num_parameters == 64 * 3 + 3 + 30 + 10
    assert len(built) == 2


def test_a_folder_of_very_many_files_is_not_relied_on(built, own, tmp_path, monkeypatch):
    monkeypatch.setattr(known, "_MOST_FILES", 3)
    for number in range(4):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / f"many/{number}").touch()
    for _ in range(2):
        known.network_facts({**own, "folder": str(tmp_path / "many")})
    assert len(built) == 2


def test_what_is_installed_decides(built, monkeypatch):
    known.network_facts(NETWORK)
    monkeypatch.setattr(installed, "folders", lambda: ["torch-2.0.0.dist-info 1"])
    known.network_facts(NETWORK)
    assert len(built) == 2


def test_distributions_are_known_by_version_and_time():
    import torch

    version = torch.__version__.partition("+")[0]
    assert any(f"torch-{version}" in each for each in installed.folders())


def test_code_of_the_project_decides(built, monkeypatch):
    known.network_facts(NETWORK)
    asked = []

    def changed(script, uses):
        asked.append((script.name, list(uses)))
        return {"torch": "another digest"}

    monkeypatch.setattr(known, "module_digests", changed)
    known.network_facts(NETWORK)
    assert len(built) == 2
    assert asked == [("networks.py", ["truehessian.networks.mlp:MLP"])]
    reached = fingerprint.closure(Path(networks.__file__), ["truehessian.networks.mlp:MLP"])
    assert {"truehessian.networks.registry", "truehessian.networks.mlp"} <= set(reached)


def test_an_error_is_found_again_each_time(built):
    wrong = {**NETWORK, "hidden": [-1]}
    sentences = []
    for _ in range(2):
        with pytest.raises(Exception, match=r"\w") as error:
            known.network_facts(wrong)
        sentences.append(str(error.value))
    assert built == [wrong, wrong]
    assert sentences[0] == sentences[1]


def test_losses_are_made_once_and_wrong_ones_each_time(monkeypatch):
    from truehessian.networks.losses import base

    made, real = [], base.of_settings
    monkeypatch.setattr(base, "of_settings", lambda s: made.append(s) or real(s))
    for settings in ("mse", "mse", {"name": "cross_entropy", "label_smoothing": 0.1}):
        known.check_loss(settings)
    assert made == ["mse", {"name": "cross_entropy", "label_smoothing": 0.1}]
    for _ in range(2):
        with pytest.raises(ValueError, match="label_smoothing"):
            known.check_loss({"name": "cross_entropy", "label_smoothing": 2})
    assert len(made) == 4


def test_augmentations_are_imported_once_and_those_that_are_none_each_time(own):
    module = own["name"].partition(":")[0]
    known.check_augmentation(f"{module}:make")
    for _ in range(2):
        with pytest.raises(ValueError, match="is a int and not a function"):
            known.check_augmentation(f"{module}_layers:WIDTH")
    with pytest.raises(ValueError, match="cannot import no_such_module"):
        known.check_augmentation("no_such_module:make")


@pytest.mark.parametrize("kind", ["tensors", "image_folder"])
def test_data_are_read_again_when_anything_about_their_files_has_changed(
    tmp_path, kind, monkeypatch
):
    """Even if size and time of the content are those of before, as a copy may leave them."""
    folder = tmp_path / "images"
    for number in range(4):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "ab"[number % 2] / f"{number}.png").write_bytes(bytes([number]) * 9)
    file = folder / "a/0.png"
    path = folder if kind == "image_folder" else file
    settings = {"name": kind, "arguments": {"path": str(path)}}
    read, real = [], origins.of_data
    monkeypatch.setattr(origins, "of_data", lambda s: read.append(s) or real(s))
    before = origins.of_data_as_remembered(settings)
    assert before == origins.of_data_as_remembered(settings) == real(settings)
    assert len(read) == 1
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"x" * 9)
    os.utime(file, ns=times)
    after = origins.of_data_as_remembered(settings)
    assert after != before
    assert after == real(settings)
    if kind == "image_folder":
        (folder / "b/new.png").write_bytes(b"new")
        assert origins.of_data_as_remembered(settings) == real(settings) != after


def test_data_that_no_path_says_are_asked_for_each_time(monkeypatch):
    read = []
    monkeypatch.setattr(origins, "of_data", lambda s: read.append(s) or {})
    for name in ("digits", "digits", "own_module:function", "own_module:function"):
        origins.of_data_as_remembered({"name": name, "arguments": {}})
    assert len(read) == 4


def edited(content):
    return {**content, "value": [True, [[["weight"], 1, True]]]}


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-9], lambda text: json.dumps(edited(json.loads(text)))]
)
def test_damage_is_noticed(built, memories, damage):
    known.network_facts(NETWORK)
    for file in memories.glob("*.json"):
        file.write_text(damage(file.read_text()))
    assert known.network_facts(NETWORK) == networks.network_facts(NETWORK)
    assert len(built) == 3


def test_without_a_place_for_memory_everything_goes_on(built, memories):
    memories.write_text("a file and no folder")
    assert known.network_facts(NETWORK) == known.network_facts(NETWORK)
    assert len(built) == 2


def test_what_is_old_is_forgotten(memories):
    memory.remember({"what": 1}, "one")
    (file,) = memories.iterdir()
    assert memory.recall({"what": 1}) == "one"
    month = 30 * 24 * 3600
    for age, left in ((month, 2), (3 * month, 1)):
        os.utime(file, (time.time() - age,) * 2)
        memory.remember({"what": 2}, "two")
        assert len(list(memories.iterdir())) == left


def test_files_are_read_once_for_all_processes(tmp_path, monkeypatch):
    """And what is remembered of a file is what its content says."""
    path = tmp_path / "module.py"
    path.write_text("from a.b import c\n\nimport_module(name)\n__all__ = ['d']\n")
    first = reading.read(path)
    reading.keep()
    for store in (reading._all, reading._used, reading._kept):
        store.clear()
    reading._reading.cache_clear()
    monkeypatch.setattr(reading, "_parsed", lambda *_: pytest.fail("read again"))
    assert reading.read(path) == first
    assert first.imports == (reading.Import(0, "a.b", ("c",)),)
    assert first.computed
    assert first.exports == ("d",)
    monkeypatch.undo()
    path.write_text("import e\n")
    os.utime(path, ns=(1, 1))
    assert reading.read(path).imports == (reading.Import(0, "e"),)
