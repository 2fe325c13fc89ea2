"""The command that looks after the store and prints the schema of configurations."""

import json
import os
import time

import pytest

from truehessian.pipeline import cli
from truehessian.pipeline.stage import key as keys, maintenance, store


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))


def put(
    tmp_path, seed: int, content: bytes = b"0123456789", age: float = 0.0, **modules
) -> keys.Key:
    modules = modules or {"a": "1"}
    key = keys.make("measure", modules, {"settings": {"seed": seed}}, {"data": "d"}, {})
    path = tmp_path / f"{seed}.npz"
    path.write_bytes(content + bytes([seed]))
    store.save(key, {"spectrum": path})
    manifest = store.root() / "objects" / key.digest[:2] / key.digest / "manifest.json"
    os.utime(manifest, (time.time() - age, time.time() - age))
    return key


def test_prune_removes_what_was_used_longest_ago(tmp_path, capsys):
    old, new = put(tmp_path, 1, age=100), put(tmp_path, 2, age=1)
    assert cli.main(["cache", "prune", "--max-size", "15"]) == 0
    assert "removed 1 results and 0 resume states, 11 B" in capsys.readouterr().out
    assert [entry.key for entry in store.entries()] == [new.digest]
    assert not store.restore(old, {"spectrum": tmp_path / "x"})


def test_prune_spares_what_is_in_use(tmp_path):
    old, _ = put(tmp_path, 1, age=100), put(tmp_path, 2)
    with store.exclusive(old):
        removed = maintenance.prune(15)
    assert old.digest not in {entry.key for entry in removed}
    assert len(removed) == 1


def test_results_of_an_earlier_version_are_told_and_removed(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as earlier:
        earlier.setattr(keys, "FORM", 1)
        put(tmp_path, 1)
    kept = put(tmp_path, 2)
    assert cli.main(["cache", "size"]) == 0
    assert "11 B of it in 1 results of an earlier version" in capsys.readouterr().out
    assert cli.main(["cache", "prune", "--old"]) == 0
    assert "removed 1 results" in capsys.readouterr().out
    assert [entry.key for entry in store.entries()] == [kept.digest]


def test_prune_removes_what_killed_stages_have_left(tmp_path, capsys):
    finished, killed, at_work = put(tmp_path, 1), put(tmp_path, 2), put(tmp_path, 3)
    for age, key in ((100, killed), (200, at_work)):
        part = store.state_folder(key) / "probe-0" / "000000-000004.safetensors"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x" * 1000)
        for path in (part, part.parent, part.parent.parent):
            os.utime(path, (time.time() - age, time.time() - age))
    assert cli.main(["cache", "size"]) == 0
    assert "in resume states of 2 unfinished stages" in capsys.readouterr().out
    with store.exclusive(at_work):
        assert cli.main(["cache", "prune", "--max-size", "6K"]) == 0
    assert "removed 0 results and 1 resume states" in capsys.readouterr().out
    assert not store.state_folder(killed).exists()
    assert store.state_folder(at_work).exists()
    assert finished.digest in {entry.key for entry in store.entries()}


def test_verify_names_damage_and_drops_on_request(tmp_path, capsys):
    put(tmp_path, 1)
    (entry,) = store.entries()
    assert cli.main(["cache", "verify"]) == 0
    (entry.path / "spectrum").write_bytes(b"flipped")
    assert cli.main(["cache", "verify"]) == 1
    assert "spectrum has changed since it was stored" in capsys.readouterr().out
    assert cli.main(["cache", "verify", "--drop"]) == 0
    assert list(store.entries()) == []


def test_explain_names_module_and_setting(tmp_path, capsys):
    put(tmp_path, 1, **{"truehessian.spectra.lanczos": "old"})
    put(tmp_path, 2, **{"truehessian.spectra.lanczos": "new"})
    assert cli.main(["cache", "explain", str(tmp_path / "2.npz")]) == 0
    out = capsys.readouterr().out
    assert "code of truehessian.spectra.lanczos" in out
    assert "setting settings.seed (1 -> 2)" in out
    (tmp_path / "foreign").write_bytes(b"?")
    assert cli.main(["cache", "explain", str(tmp_path / "foreign")]) == 1
    assert "not the output of any stored result" in capsys.readouterr().err


def test_results_are_carried_to_another_store_and_damaged_ones_refused(
    tmp_path, monkeypatch, capsys
):
    good, bad = put(tmp_path, 1), put(tmp_path, 2)
    archive = tmp_path / "results.tar"
    assert cli.main(["cache", "export", str(archive)]) == 0
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"0123456789\x02", b"9876543210\x02"))
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "laptop"))
    assert cli.main(["cache", "import", str(archive)]) == 1
    assert "imported 1 results, 1 damaged ones refused" in capsys.readouterr().out
    assert store.restore(good, {"spectrum": tmp_path / "restored"})
    assert (tmp_path / "restored").read_bytes() == b"0123456789\x01"
    assert not store.restore(bad, {"spectrum": tmp_path / "other"})
    archive.write_bytes(content[:300])
    assert cli.main(["cache", "import", str(archive)]) == 1
    assert "export again" in capsys.readouterr().err


def test_list_and_size(tmp_path, capsys):
    put(tmp_path, 1)
    assert cli.main(["cache", "list"]) == 0
    assert "measure" in capsys.readouterr().out
    assert cli.main(["cache", "size"]) == 0
    assert "11 B in 1 results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("1.5K", 1500), ("20GB", 20 * 10**9), ("3m", 3 * 10**6)],
)
def test_sizes(text, size):
    assert cli.size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "1Q"])
def test_wrong_sizes_are_refused(text, capsys):
    assert cli.main(["cache", "prune", f"--max-size={text}"]) == 1
    assert "size" in capsys.readouterr().err


def test_the_schema_of_configurations_is_printed_for_editors(capsys):
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"].keys() == {"analyse", "runs"}
