"""Keys and the store: same work, same key; an entry is whole or it is not there."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time

import pytest

from truehessian.pipeline.stage import key as keys, store

KEY = keys.Key("ab" + "0" * 62, {"stage": "measure"})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A store of our own."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def outputs(tmp_path):
    """Two output files with known contents."""
    paths = {"spectrum": tmp_path / "full.npz", "vectors.0": tmp_path / "vectors.bin"}
    paths["spectrum"].write_bytes(b"values")
    paths["vectors.0"].write_bytes(b"vectors" * 1000)
    return paths


def entry(cache):
    return cache / "objects" / "ab" / KEY.digest


def make(settings=None, **changes):
    parts = {
        "name": "measure",
        "modules": {"measure": "1", "truehessian.spectra.lanczos": "2"},
        "settings": settings or {},
        "inputs": {"checkpoint": "3"},
        "environment": {"device": "cpu", "torch": "2.11"},
        **changes,
    }
    return keys.make(**parts).digest


def test_order_and_spelling_of_numbers_do_not_change_a_key():
    one = {"settings": {"steps": 1, "rate": 0.5, "pairs": [(1, 2.0)]}, "epoch": 3}
    two = {"epoch": 3.0, "settings": {"rate": 0.5, "pairs": [[1.0, 2]], "steps": 1.0}}
    assert make(one) == make(two)
    modules = {"truehessian.spectra.lanczos": "2", "measure": "1"}
    assert make(modules=modules) == make()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"settings": {"seed": 0}}, {"settings": {"seed": 1}}),
    ],
)
def test_other_values_make_another_key(one, two):
    assert make(one) != make(two)


@pytest.mark.parametrize("name", ["root", "download", "memory_gb", "basis_gb", "device"])
def test_settings_that_decide_no_number_do_not_change_a_key(name):
    same = [{"settings": {"steps": 4, name: value}} for value in ("one", "other")]
    assert make(same[0]) == make(same[1]) == make({"settings": {"steps": 4}})


@pytest.mark.parametrize("name", ["root", "device"])
def test_all_arguments_of_a_network_count(name):
    one, other = ({"settings": {}, "network": {name: value}} for value in (1, 2))
    assert make(one) != make(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"modules": {"measure": "1", "truehessian.spectra.lanczos": "changed"}},
        {"inputs": {"checkpoint": "changed"}},
        {"environment": {"device": "cuda", "torch": "2.11"}},
        {"environment": {"device": "cpu", "torch": "2.12"}},
    ],
)
def test_code_inputs_and_environment_change_a_key(changes):
    assert make(**changes) != make()


def test_what_is_saved_is_restored_to_the_byte(outputs, tmp_path):
    store.save(KEY, outputs)
    targets = {name: tmp_path / "new" / path.name for name, path in outputs.items()}
    assert store.restore(KEY, targets)
    for name, path in outputs.items():
        assert targets[name].read_bytes() == path.read_bytes()


def test_an_unknown_key_restores_nothing(outputs, tmp_path):
    assert not store.restore(KEY, {"spectrum": tmp_path / "new" / "full.npz"})
    assert not (tmp_path / "new").exists()


def test_an_entry_tells_what_it_was_made_of(outputs, cache):
    store.save(KEY, outputs)
    (found,) = store.entries()
    assert found.key == KEY.digest
    assert found.path == entry(cache)
    assert found.manifest["parts"] == KEY.parts
    assert found.size == sum(path.stat().st_size for path in outputs.values())


def test_restoring_marks_an_entry_as_used(outputs, cache, tmp_path):
    store.save(KEY, outputs)
    os.utime(entry(cache) / "manifest.json", (1000, 1000))
    assert next(store.entries()).last_used == 1000
    store.restore(KEY, {"spectrum": tmp_path / "copy.npz"})
    assert next(store.entries()).last_used > time.time() - 60


def damage_contents(folder):
    (folder / "vectors.0").write_bytes(b"vectorz" * 1000)


def damage_manifest(folder):
    (folder / "manifest.json").write_text("{")


def empty_manifest(folder):
    (folder / "manifest.json").write_text("null")


def remove_output(folder):
    (folder / "vectors.0").unlink()


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


def forget_output(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["outputs"]["vectors.0"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "damage",
    [
        damage_contents,
        damage_manifest,
        empty_manifest,
        remove_output,
        remove_manifest,
        forget_output,
    ],
)
def test_a_damaged_entry_is_reported_removed_and_counts_as_missing(
    outputs, cache, tmp_path, caplog, damage
):
    store.save(KEY, outputs)
    damage(entry(cache))
    targets = {name: tmp_path / "new" / path.name for name, path in outputs.items()}
    with caplog.at_level(logging.WARNING):
        assert not store.restore(KEY, targets)
    assert "is damaged" in caplog.text
    assert not entry(cache).exists()
    assert not any(path.exists() for path in targets.values())
    store.save(KEY, outputs)
    assert store.restore(KEY, targets)


def test_nothing_but_the_entry_is_left_after_saving(outputs, cache):
    store.save(KEY, outputs)
    names = sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*"))
    folder = f"objects/ab/{KEY.digest}"
    assert names == sorted(
        ["objects", "objects/ab", folder, *(f"{folder}/{n}" for n in (*outputs, "manifest.json"))]
    )


def test_a_save_that_fails_leaves_nothing(outputs, cache, monkeypatch):
    def full_disk(source, target):
        if source == outputs["vectors.0"]:
            raise OSError("no space left")
        return copy(source, target)

    copy = shutil.copyfile
    monkeypatch.setattr(store.shutil, "copyfile", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.save(KEY, outputs)
    assert list((cache / "objects/ab").iterdir()) == []


def test_the_entry_is_invisible_until_it_is_whole(outputs, cache, monkeypatch):
    seen = []

    def watched(source, target):
        seen.append((entry(cache).exists(), list(store.entries())))
        return copy(source, target)

    copy = shutil.copyfile
    monkeypatch.setattr(store.shutil, "copyfile", watched)
    store.save(KEY, outputs)
    assert seen == [(False, [])] * len(outputs)
    assert entry(cache).exists()


def test_a_second_save_changes_nothing(outputs, cache):
    store.save(KEY, outputs)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    store.save(KEY, outputs)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_losing_the_race_to_save_is_harmless(outputs, cache, monkeypatch, tmp_path):
    def overtaken(source, target):
        if not entry(cache).exists():
            monkeypatch.setattr(store.shutil, "copyfile", copy)
            store.save(KEY, outputs)
        return copy(source, target)

    copy = shutil.copyfile
    monkeypatch.setattr(store.shutil, "copyfile", overtaken)
    store.save(KEY, outputs)
    assert [path.name for path in (cache / "objects/ab").iterdir()] == [KEY.digest]
    assert store.restore(KEY, {"spectrum": tmp_path / "copy.npz"})


WORKER = """
import pathlib, sys, time
from truehessian.pipeline.stage import key, store
folder = pathlib.Path(sys.argv[1])
with store.exclusive(key.Key(sys.argv[2], {})):
    (folder / "inside").write_text("")
    time.sleep(float(sys.argv[3]))
    (folder / "done").write_text("")
"""


def hold(folder, seconds) -> subprocess.Popen:
    """A process that holds the lock of KEY for some seconds; returns once it has it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), KEY.digest, str(seconds)]
    )
    deadline = time.monotonic() + 20
    while not (folder / "inside").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_a_second_process_waits_until_the_first_is_done(tmp_path, caplog):
    process = hold(tmp_path, 0.5)
    with caplog.at_level(logging.WARNING), store.exclusive(KEY):
        assert (tmp_path / "done").exists()
    assert process.wait() == 0
    assert "another process works on the same stage" in caplog.text


def test_a_lock_goes_with_the_process_that_held_it(tmp_path):
    process = hold(tmp_path, 60)
    process.kill()
    process.wait()
    begin = time.monotonic()
    with store.exclusive(KEY):
        assert time.monotonic() - begin < 5


def test_other_keys_are_not_locked(tmp_path):
    process = hold(tmp_path, 60)
    try:
        begin = time.monotonic()
        with store.exclusive(keys.Key("cd" + "0" * 62, {})):
            assert time.monotonic() - begin < 5
    finally:
        process.kill()
        process.wait()


def test_a_store_that_cannot_be_written_to_is_named_with_the_remedy(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING), store.exclusive(KEY) as writable:
        assert not writable
    assert "file cannot be written to" in caplog.text
    assert f"set {store.VARIABLE}" in caplog.text
