"""Kills, full disks and damaged files: whole results or one sentence, never halves."""

import importlib.util
import logging
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import overhead
import pytest
import torch
from faults import (
    ROOT,
    fill,
    kill_at_random,
    process,
    remount,
    small_disk,
    wait_until,
    whole,
)
from recipes import train
from test_lanczos import SPECTRA, matrix_with
from test_training import SETTINGS, ignore, network, same_weights
from victims import WHOLE, job, lanczos, run_stage, work

from truehessian import tensorfile
from truehessian.data import catalogue, dataset
from truehessian.pipeline import stage
from truehessian.pipeline.config.settings import TrainingSettings
from truehessian.pipeline.stage import presence, store
from truehessian.spectra import spectrum
from truehessian.spectra.lanczos import probe_vector, tridiagonalise
from truehessian.spectra.recurrence import Journal


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A store of our own."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_lanczos_that_is_killed_ten_times_ends_with_the_same_bits(tmp_path):
    for name in ("killed", "undisturbed"):
        (tmp_path / name).mkdir()
    killed = kill_at_random(
        lambda: process(lanczos, tmp_path / "killed"),
        seed=1,
        kills=10,
        longest=0.1,
        check=lambda: None,
    )
    assert killed == 10
    assert len(list((tmp_path / "killed/state").iterdir())) > 1
    assert not (tmp_path / "killed/done").exists()
    for name in ("killed", "undisturbed"):
        last = process(lanczos, tmp_path / name)
        last.join()
        assert last.exitcode == 0
    done = [(tmp_path / name / "done").read_bytes() for name in ("killed", "undisturbed")]
    assert done[0] == done[1]


def test_a_stage_that_is_killed_ten_times_never_shows_half_a_file(tmp_path):
    outputs = tmp_path / "results"

    def nothing_is_half():
        found = whole(outputs) if outputs.exists() else {}
        assert found == {name: WHOLE[name] for name in found}

    killed = kill_at_random(
        lambda: process(run_stage, tmp_path, tmp_path / "cache"),
        seed=2,
        kills=10,
        longest=0.12,
        check=nothing_is_half,
    )
    assert killed == 10
    last = process(run_stage, tmp_path, tmp_path / "cache")
    last.join()
    assert last.exitcode == 0
    assert whole(outputs) == WHOLE
    assert not list(outputs.glob(".*")), "drafts of killed processes are cleared away"


def test_of_two_processes_one_computes_and_the_other_restores(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    both = [process(run_stage, folder, tmp_path / "cache") for folder in folders]
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert [whole(folder / "results") for folder in folders] == [WHOLE, WHOLE]
    said = sorted("restored" in (folder / "measure.log").read_text() for folder in folders)
    assert said == [False, True]


BEGIN = """
import sys, time
from pathlib import Path
from truehessian.pipeline.stage import presence
presence.begin(Path("state"))
Path(sys.argv[1]).write_text("")
time.sleep(60)
"""


@pytest.fixture
def run_in(tmp_path):
    """Starts runs in a folder, and kills what is left of them."""
    runs = []

    def start(name: str) -> subprocess.Popen:
        run = subprocess.Popen([sys.executable, "-c", BEGIN, name], cwd=tmp_path)
        runs.append(run)
        wait_until((tmp_path / name).exists, run)
        return run

    yield start
    for run in runs:
        run.kill()
        run.wait()


@pytest.fixture
def lock(tmp_path):
    """A lock as Snakemake writes it."""
    path = tmp_path / "state/locks/0.output.lock"
    path.parent.mkdir(parents=True)
    path.write_text("results/report.html\n")
    return path


def test_the_lock_of_a_dead_run_goes_and_that_of_a_living_one_stays(tmp_path, lock, run_in, capsys):
    text = lock.read_text()
    lock.unlink()
    first = run_in("first")
    lock.write_text(text)
    presence.begin(tmp_path / "state")
    assert lock.exists()
    assert "another snakemake is at work" in capsys.readouterr().err
    presence._held.pop().close()
    first.kill()
    first.wait()
    presence.begin(tmp_path / "state")
    presence._held.pop().close()
    assert not lock.exists()
    assert "going on from what it has left" in capsys.readouterr().err


def test_a_lock_stays_while_any_run_of_its_time_is_alive(tmp_path, run_in):
    """The second run joins the first one's generation, and keeps it alive when that is killed."""
    first, second = run_in("first"), run_in("second")
    lock = tmp_path / "state/locks/0.output.lock"
    lock.parent.mkdir()
    lock.write_text("results/report.html\n")
    first.kill()
    first.wait()
    run_in("third")
    assert lock.exists()
    assert second.poll() is None


def test_a_lock_from_another_host_stays_and_is_explained(tmp_path, lock, capsys):
    (lock.parents[1] / presence._FILE).write_text('{"generation": "1", "host": "elsewhere"}')
    presence.begin(tmp_path / "state")
    presence._held.pop().close()
    assert lock.exists()
    assert "start this one on elsewhere or use --unlock" in capsys.readouterr().err


def test_a_lock_of_which_nothing_is_known_is_left_to_snakemake(tmp_path, lock):
    presence.begin(tmp_path / "state")
    presence._held.pop().close()
    assert lock.exists()


def test_a_job_whose_run_was_succeeded_publishes_nothing(tmp_path, cache, monkeypatch, capsys):
    mine = presence.begin(tmp_path / "state")
    presence._held.pop().close()  # as if killed
    monkeypatch.setenv(presence.VARIABLE, mine)
    stage.run(job(tmp_path, tmp_path / "before"), work)
    assert whole(tmp_path / "before") == WHOLE
    shutil.rmtree(tmp_path / "cache")
    presence.begin(tmp_path / "state")
    presence._held.pop().close()
    with pytest.raises(SystemExit):
        stage.run(job(tmp_path), work)
    assert "another one has begun" in capsys.readouterr().err
    assert list((tmp_path / "results").iterdir()) == []
    assert len(list(store.entries())) == 1, "the work is not lost"


def test_a_job_that_no_run_has_started_asks_nobody(tmp_path, cache, monkeypatch):
    """Whatever lies in the folder that it is started in."""
    (tmp_path / ".snakemake").mkdir()
    presence.begin(tmp_path / ".snakemake")
    presence._held.pop().close()
    monkeypatch.chdir(tmp_path)
    opened = []
    monkeypatch.setattr(presence, "_read", lambda file: opened.append(file) or {"generation": "1"})
    stage.run(job(tmp_path), work)
    assert whole(tmp_path / "results") == WHOLE
    assert opened == []


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def sentence(capsys) -> str:
    """What a failed stage has said; its two lines are the error and the place of the log."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "Logging error" not in said
    lines = said.splitlines()
    assert lines[-2].startswith("measure: ")
    assert lines[-1].startswith("(log: ")
    return lines[-2]


def test_a_full_disk_leaves_nothing_half_and_says_so(tmp_path, disk, cache, capsys):
    outputs = disk / "results"
    injected = job(tmp_path, outputs)
    injected.log[0] = str(disk / "measure.log")  # which cannot be written either
    filler = fill(disk)
    with pytest.raises(SystemExit) as caught:
        stage.run(injected, work)
    assert caught.value.code == 1
    assert "No space left on device; make room, then start snakemake again" in sentence(capsys)
    assert list(outputs.iterdir()) == []
    filler.unlink()
    stage.run(injected, work)
    assert whole(outputs) == WHOLE


def test_a_full_store_costs_a_warning_and_not_the_result(tmp_path, disk, monkeypatch, capsys):
    monkeypatch.setenv(store.VARIABLE, str(disk / "cache"))
    filler = fill(disk)
    injected = job(tmp_path)
    stage.run(injected, work)
    assert whole(tmp_path / "results") == WHOLE
    assert store.VARIABLE in capsys.readouterr().err
    assert not list((disk / "cache").rglob(".*-*")), "nothing half-written in the store"
    filler.unlink()
    stage.run(injected, work)
    assert len(list(store.entries())) == 1


def test_a_read_only_store_still_serves_what_it_has(tmp_path, disk, monkeypatch, capsys):
    monkeypatch.setenv(store.VARIABLE, str(disk / "cache"))
    injected = job(tmp_path)
    stage.run(injected, work)
    remount(disk, "ro")
    shutil.rmtree(tmp_path / "results")
    (tmp_path / "results").mkdir()
    stage.run(injected, work)
    assert whole(tmp_path / "results") == WHOLE
    assert "restored from the store" in Path(injected.log[0]).read_text()
    capsys.readouterr()
    injected.params["factor"] = 3
    stage.run(injected, work)
    assert whole(tmp_path / "results") == WHOLE
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "cannot be written to (Read-only file system)" in said
    assert store.VARIABLE in said
    assert not list((tmp_path / "results").glob(".*"))


def test_read_only_results_are_an_error_of_one_sentence(tmp_path, disk, cache, capsys):
    outputs = disk / "results"
    injected = job(tmp_path, outputs)
    injected.log[0] = str(disk / "logs/measure.log")
    remount(disk, "ro")
    with pytest.raises(SystemExit) as caught:
        stage.run(injected, work)
    assert caught.value.code == 1
    said = sentence(capsys)
    assert "Read-only file system" in said
    assert "; make it writable, then start snakemake again" in said
    remount(disk, "rw")
    stage.run(injected, work)
    assert whole(outputs) == WHOLE


def test_the_state_moves_when_its_disk_is_full_and_takes_along_what_is_done(
    tmp_path, disk, monkeypatch, capsys
):
    monkeypatch.setenv(store.VARIABLE, str(disk / "cache"))
    steps = []

    def main(source, *, copy_out, parts_out, factor, state):
        state.mkdir(parents=True, exist_ok=True)
        for step in range(3):
            if not (state / f"{step}").exists():
                if step == 2 and state.is_relative_to(disk):
                    fill(disk)
                tensorfile.save(state / f"{step}", {"part": torch.ones(3000)}, {})
                steps.append(step)
        for path in (copy_out, *parts_out):
            Path(path).write_text("done")

    stage.run(job(tmp_path), main)
    assert steps == [0, 1, 2]
    assert set(whole(tmp_path / "results").values()) == {"done"}
    said = capsys.readouterr().err
    assert "No space left" in said
    assert "the resume state lies in" in said
    assert not list((tmp_path / "results").glob(".*"))


def test_a_store_that_is_deleted_in_the_middle_costs_no_result(tmp_path, cache, capsys):
    calls = []

    def main(source, *, copy_out, parts_out, factor, state):
        calls.append(state)
        assert not state.exists(), "what is left of it is not relied on"
        state.mkdir(parents=True)
        (state / "first").write_text("done")
        if len(calls) == 1:
            shutil.rmtree(cache)
            state.mkdir(parents=True)
            (state / "second").write_text("done")
        for path in (copy_out, *parts_out):
            shutil.copyfile(state / "first", path)

    stage.run(job(tmp_path), main)
    assert set(whole(tmp_path / "results").values()) == {"done"}
    assert len(calls) == 2
    assert "the resume state lies in" in capsys.readouterr().err
    assert len(list(store.entries())) == 1


def test_a_disk_that_is_full_costs_the_journal_and_not_the_run(tmp_path, disk, caplog):
    matrix = matrix_with(SPECTRA["geometric"], 0)
    fill(disk)
    with caplog.at_level(logging.WARNING):
        run = tridiagonalise(
            matrix.mv, probe_vector(40, 0), 9, journal=Journal(disk / "state", interval=0)
        )
    undisturbed = tridiagonalise(matrix.mv, probe_vector(40, 0), 9)
    assert np.array_equal(run.diagonal, undisturbed.diagonal)
    assert len(caplog.records) == 1
    assert "a kill costs all the work: [Errno 28] No space left" in caplog.text


def test_a_disk_that_is_full_costs_the_state_of_training_and_not_the_run(disk, caplog):
    digits = catalogue.fetch("digits", train_examples=64, test_examples=32)
    networks = [network("mlp"), network("mlp")]
    train(networks[0], digits, **SETTINGS, on_checkpoint=ignore)
    fill(disk)
    with caplog.at_level(logging.WARNING):
        train(networks[1], digits, **SETTINGS, on_checkpoint=ignore, state=disk / "state")
    assert same_weights(*networks)
    assert len(caplog.records) == 1
    assert "so a kill costs all later epochs: [Errno 28] No space left" in caplog.text


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_of_a_tensor_file_is_seen(tmp_path):
    """But for those that rename the digest: a file without one comes from another program."""
    path = tmp_path / "weights.safetensors"
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}
    tensorfile.save(path, tensors, {"epoch": "3"})
    content = path.read_bytes()
    name = content.index(b"sha256") * 8
    missed = []
    for bit in range(0, 8 * len(content), 3):
        path.write_bytes(flipped(content, bit))
        try:
            tensorfile.load(path)
            missed.append(bit)
        except ValueError as error:
            assert "delete it and make it again" in str(error)  # noqa: PT017
    assert set(missed) <= set(range(name, name + 8 * len(b"sha256")))


def test_no_flipped_bit_of_a_spectrum_changes_a_number(tmp_path):
    path = tmp_path / "full.npz"
    values = np.arange(12.0).reshape(2, 6)
    made = spectrum.Spectrum(values, values, values, values, values[:, 1:], {"steps": 6})
    spectrum.save(path, made)
    content = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for bit in draw.sample(range(8 * len(content)), 300):
        path.write_bytes(flipped(content, bit))
        try:
            found = spectrum.load(path)
        except ValueError as error:
            assert "is not a whole spectrum file" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert found.metadata == made.metadata
            assert all(
                np.array_equal(one, two) for one, two in zip(found[:5], made[:5], strict=True)
            )
    assert refused > 150


def test_a_flipped_bit_in_a_state_costs_the_steps_from_there(tmp_path, caplog):
    matrix = matrix_with(SPECTRA["geometric"], 0)
    start = probe_vector(40, 0)
    whole_run = tridiagonalise(matrix.mv, start, 12, journal=Journal(tmp_path, interval=0))
    part = sorted(tmp_path.glob("*.safetensors"))[5]
    content = part.read_bytes()
    part.write_bytes(flipped(content, 8 * len(content) - 30))
    with caplog.at_level(logging.INFO):
        again = tridiagonalise(matrix.mv, start, 12, journal=Journal(tmp_path, interval=0))
    assert "going on from step 5" in caplog.text
    assert np.array_equal(whole_run.diagonal, again.diagonal)
    assert torch.equal(whole_run.basis, again.basis)


def test_a_damaged_checkpoint_among_the_state_of_training_counts_as_lost(tmp_path):
    """Else it would be copied into the results, and into the store under its new digest."""
    path = ROOT / "scripts/train_network.py"
    spec = importlib.util.spec_from_file_location("train_network", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    dataset.save(tmp_path / "data", catalogue.fetch("digits", train_examples=64, test_examples=32))
    made = {"name": "mlp", "hidden": [4], "num_classes": 10, "input_shape": [1, 8, 8]}
    arguments = {
        "checkpoints_out": [str(tmp_path / "0"), str(tmp_path / "4")],
        "training_out": str(tmp_path / "training.csv"),
        "settings": TrainingSettings(**SETTINGS, device="cpu", loss="cross_entropy"),
        "network": made,
        "epochs": [0, 4],
        "state": tmp_path / "state",
    }
    script.main(str(tmp_path / "data"), **arguments)
    kept = tmp_path / "state/0.safetensors"
    kept.write_bytes(flipped(kept.read_bytes(), 8 * kept.stat().st_size - 1))
    with pytest.raises(FileNotFoundError) as caught:
        script.main(str(tmp_path / "data"), **arguments)
    assert caught.value.filename == str(kept)


def test_restoring_costs_little_more_than_a_copy(tmp_path, cache):
    restoring, copying = overhead.of_restoring(tmp_path)
    assert restoring < 10 * copying + 1


def test_a_key_costs_milliseconds_once_modules_are_parsed(tmp_path):
    _, more = overhead.of_a_key(tmp_path)
    assert more < 0.5
