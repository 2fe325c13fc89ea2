"""The workflow on the SLURM cluster that the environment points to.

Run with ``pytest -m slow tests/pipeline/test_slurm.py -rs --basetemp FOLDER``, where FOLDER is a
new one on a file system that all nodes see. Takes ten minutes on two cores.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ["Snakefile", "config.yaml", "envs", "scripts", "src", "workflow", "profiles", "tests"]
# The rules ask for what networks of common size need; a job here needs 0.8 GB.
SMALL = {
    rule: ["runtime=10", "mem_mb=1500"]
    for rule in (
        "train_network_reduced",
        "measure_full_spectra",
        "measure_batch_spectra_reduced",
        "measure_augmented_spectra_reduced",
        "measure_directions",
    )
}
ON_SLURM = [
    "--workflow-profile=profiles/slurm",
    "--slurm-init-seconds-before-status-checks=7",
    "--set-resources",
    *(f"{rule}:{resource}" for rule, resources in SMALL.items() for resource in resources),
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("sbatch") is None, reason="needs a SLURM cluster; there is no sbatch in PATH"
    ),
]


class Run:
    """Snakemake in a copy of the project with its own store, at work in the background."""

    def __init__(self, folder, *options):
        self.folder = folder
        for name in SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.log = folder / "snakemake.log"
        command = [sys.executable, "-m", "snakemake", "--configfile=tests/reduced.yaml", *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"TRUEHESSIAN_CACHE": str(folder / "store")},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self):
        return self.process.wait(timeout=1800)

    def job_ids(self):
        return re.findall(r"submitted with SLURM jobid (\d+)", self.log.read_text())

    def first_job(self):
        while not self.job_ids():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.5)
        return self.job_ids()[0]


@pytest.fixture
def start(tmp_path):
    """Start runs by name; none survives the test."""
    runs = []

    def begin(name, *options):
        (tmp_path / name).mkdir()
        runs.append(Run(tmp_path / name, *options))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.wait()
        if run.job_ids():
            subprocess.run(["scancel", *run.job_ids()], check=False)


def test_all_jobs_run_on_the_cluster_and_the_tables_are_those_of_a_local_run(start):
    cluster = start("cluster", *ON_SLURM)
    assert cluster.wait() == 0, cluster.log.read_text()
    local = start("local", "--cores=2")
    assert local.wait() == 0, local.log.read_text()

    total = int(re.search(r"^total +(\d+)$", cluster.log.read_text(), re.MULTILINE)[1])
    assert len(set(cluster.job_ids())) == total - 1  # but for `all`, which computes nothing
    logs = cluster.folder.glob(".snakemake/slurm_logs/**/*.log")
    assert {log.stem for log in logs} == set(cluster.job_ids())

    tables = sorted(local.folder.glob("results/reduced/tables/*.csv"))
    assert len(tables) == 4
    for table in tables:
        other = cluster.folder / table.relative_to(local.folder)
        pd.testing.assert_frame_equal(pd.read_csv(other), pd.read_csv(table), rtol=1e-4)


def test_a_cancelled_job_is_submitted_again(start):
    run = start("cancelled", *ON_SLURM, "--until=prepare_dataset")
    subprocess.run(["scancel", run.first_job()], check=True)

    assert run.wait() == 0, run.log.read_text()
    assert len(set(run.job_ids())) == 2


def test_a_job_whose_code_was_edited_while_it_was_queued_refuses_to_run(start):
    held = ["--default-resources", "slurm_extra='--hold'", "mem_mb=1000", "runtime=10"]
    run = start("edited", *ON_SLURM, "--until=prepare_dataset", "--retries=0", *held)
    job = run.first_job()
    with (run.folder / "src/truehessian/data/dataset.py").open("a") as module:
        module.write("\n_EDITED = True\n")
    subprocess.run(["scontrol", "release", job], check=True)

    assert run.wait() == 1
    log = run.folder / "results/reduced/logs/prepare_dataset.log"
    assert "the code was edited" in log.read_text()
    assert not (run.folder / "results/reduced/dataset.safetensors").exists()
