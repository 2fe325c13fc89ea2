"""Whole runs of the workflow that are killed, starved or misled end as undisturbed ones do."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from faults import (
    DEADLINE,
    ROOT,
    Workflow,
    children,
    fill,
    kill_group,
    remount,
    small_disk,
    wait_until,
)
from rerun_rows import PARTS

from truehessian.networks import checkpoints

DATASET = "results/tiny/dataset.safetensors"
CHECKPOINT = "results/tiny/checkpoints/1.safetensors"
SPECTRUM = "results/tiny/spectra/1/full.npz"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A workflow that has run to its end."""
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed") / "run")
    workflow.finish()
    return workflow


def drafts(workflow: Workflow) -> list[Path]:
    return list((workflow.folder / "results").rglob(".draft-*"))


def test_a_killed_run_is_followed_by_a_plain_one(tmp_path):
    """No --unlock, no --rerun-incomplete."""
    workflow = Workflow(tmp_path / "run")
    process = workflow.start(DATASET)
    wait_until(workflow.at_work, process)
    kill_group(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert list((workflow.folder / ".snakemake/locks").iterdir())
    said = workflow.finish(DATASET)
    assert "going on from what it has left" in said
    assert (workflow.folder / DATASET).is_file()
    assert not drafts(workflow)


def kill_job(process) -> None:
    for child in children(process.pid)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def kill_snakemake(process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


def kill_both(process) -> None:
    kill_group(process, signal.SIGKILL)


def interrupt(process) -> None:
    kill_group(process, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_job, kill_snakemake, kill_both, interrupt])
def test_kills_at_random_moments_change_no_result(undisturbed, tmp_path, kill):
    workflow = Workflow(tmp_path / "run")
    draw = random.Random(kill.__name__)
    killed = 0
    expected = undisturbed.results()
    for _ in range(4):
        process = workflow.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(4, 14))
        if process.poll() is None:
            kill(process)
            killed += 1
        process.wait(DEADLINE)  # jobs may live on
        for name, digest in workflow.results().items():
            assert digest == expected[name], f"{name} is not whole"
    assert killed
    workflow.finish()
    assert workflow.results() == expected
    assert "Nothing to be done" in workflow.finish()
    wait_until(lambda: not drafts(workflow))


@pytest.mark.slow
def test_a_second_snakemake_in_the_folder_is_refused_and_does_no_harm(undisturbed, tmp_path):
    workflow = Workflow(tmp_path / "run")
    first = workflow.start()
    wait_until(workflow.at_work, first)
    status, said = workflow.run()
    assert status != 0
    assert "another snakemake is at work in this folder" in said
    assert first.wait(DEADLINE) == 0
    assert workflow.results() == undisturbed.results()


@pytest.mark.slow
def test_two_folders_with_one_store_share_the_work(undisturbed, tmp_path):
    workflows = [Workflow(tmp_path / name, tmp_path / "store") for name in ("one", "two")]
    processes = [workflow.start() for workflow in workflows]
    for workflow, process in zip(workflows, processes, strict=True):
        status, said = workflow.end(process)
        assert status == 0, said
    assert [workflow.results() for workflow in workflows] == [undisturbed.results()] * 2
    for name in ("train_network", "measure_full_spectra/1", "measure_full_spectra/2"):
        logs = [workflow.log(name).read_text() for workflow in workflows]
        assert sum("computed in" in log for log in logs) == 1
        assert sum("restored from the store" in log for log in logs) == 1


@pytest.mark.slow
def test_a_store_that_is_deleted_in_the_middle_costs_nothing_but_itself(undisturbed, tmp_path):
    workflow = Workflow(tmp_path / "run")
    process = workflow.start()
    for name in ("train_network", "measure_full_spectra/1"):
        wait_until(workflow.log(name).exists, process)
        shutil.rmtree(workflow.store, ignore_errors=True)
    status, said = workflow.end(process)
    assert status == 0, said
    assert workflow.results() == undisturbed.results()


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(undisturbed, tmp_path):
    with small_disk(tmp_path / "disk", "24m") as disk:
        workflow = Workflow(disk / "run", tmp_path / "store")
        process = workflow.start()
        wait_until(workflow.log("train_network").exists, process)
        filler = fill(disk)
        assert process.wait(DEADLINE) != 0
        found, expected = workflow.results(), undisturbed.results()
        assert found == {name: expected[name] for name in found}
        status, said = workflow.run()
        assert status != 0
        assert "Traceback" not in said
        assert "cannot be written to: No space left on device; make room, then start" in said
        filler.unlink()
        workflow.finish()
        assert workflow.results() == expected


@pytest.mark.slow
def test_read_only_results_are_refused_in_a_sentence(undisturbed, tmp_path):
    with small_disk(tmp_path / "disk", "64m") as disk:
        workflow = undisturbed.twin(disk / "run")
        (workflow.folder / SPECTRUM).unlink()
        remount(disk, "ro")
        status, said = workflow.run()
        assert status != 0
        assert "Traceback" not in said
        assert "cannot be written to: Read-only file system; make it writable, then start" in said
        remount(disk, "rw")
        workflow.finish()
        assert workflow.results() == undisturbed.results()


@pytest.mark.slow
@pytest.mark.parametrize("path", [CHECKPOINT, SPECTRUM])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_result_is_named_and_made_again_once_it_is_deleted(
    undisturbed, tmp_path, path, damage
):
    workflow = undisturbed.twin(tmp_path / "run")
    file = workflow.folder / path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "flipped" else content[:-100])
    status, said = workflow.run()
    assert status != 0
    assert f"{path} " in said
    assert "; delete it and" in said
    file.unlink()
    workflow.finish()
    assert workflow.results() == undisturbed.results()


@pytest.mark.slow
def test_the_clock_decides_nothing(undisturbed, tmp_path):
    """Files from the future, from 1990, and inputs that are younger than what was made of them."""
    workflow = undisturbed.twin(tmp_path / "run")
    draw = random.Random(0)
    year = 365 * 24 * 3600
    moments = [631152000.0, time.time() - year, time.time() + year]  # the first one is 1990
    for path in sorted(workflow.folder.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (draw.choice(moments),) * 2)
    assert "Nothing to be done" in workflow.finish()


@pytest.mark.slow
def test_a_stage_that_gives_the_same_bytes_again_costs_a_restore_each_downstream(
    undisturbed, tmp_path
):
    """Early cutoff: only the stage whose code was edited computes."""
    workflow = undisturbed.twin(tmp_path / "run")
    root = tmp_path / "clone"
    root.mkdir()
    for part in PARTS:
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / part)
    script = root / "scripts/train_network.py"
    text = script.read_text()
    script.write_text(text.replace("seed=settings.seed", "seed=int(settings.seed)"))
    assert script.read_text() != text
    workflow.snakefile = root / "Snakefile"
    workflow.finish()
    assert "computed in" in workflow.log("train_network").read_text()
    for epoch in (1, 2):
        log = workflow.log(f"measure_full_spectra/{epoch}").read_text()
        assert "restored from the store" in log
        assert "computed in" not in log
    assert workflow.results() == undisturbed.results()


@pytest.mark.slow
def test_divergence_is_one_sentence_with_epoch_and_remedy(tmp_path):
    workflow = Workflow(tmp_path / "run")
    settings = yaml.safe_load(workflow.settings.read_text())
    settings["runs"]["tiny"]["training"]["learning_rate"] = 1e30
    workflow.settings = tmp_path / "diverging.yaml"
    workflow.settings.write_text(yaml.safe_dump(settings))
    status, said = workflow.run("results/tiny/training.csv")
    assert status != 0
    assert "train_network: training diverged in epoch 1 at learning rate 1e+30" in said
    assert "; lower the learning rate" in said
    assert not (workflow.folder / "results/tiny/training.csv").exists()


@pytest.mark.slow
def test_weights_that_are_not_finite_are_one_sentence_with_chunk_and_remedy(undisturbed, tmp_path):
    workflow = undisturbed.twin(tmp_path / "run")
    path = workflow.folder / CHECKPOINT
    model = checkpoints.load(path)
    next(model.parameters()).data.fill_(np.nan)
    checkpoints.save(path, model, metadata=checkpoints.read_metadata(path))
    status, said = workflow.run(SPECTRUM)
    assert status != 0
    assert "measure_full_spectra: the hessian product of chunk 1 (examples 0 to 31) holds" in said
    assert "the weights may have diverged" in said


@pytest.mark.slow
def test_a_run_with_nothing_to_do_takes_seconds(undisturbed):
    begin = time.perf_counter()
    assert "Nothing to be done" in undisturbed.finish()
    assert time.perf_counter() - begin < 30
