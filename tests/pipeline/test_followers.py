"""Stages of several processes, as the workflow starts them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from truehessian.spectra import spectrum

ROOT = Path(__file__).parents[2]
KINDS = ("full", "batch-16")


def spectra(folder: Path, processes: int):
    """Make spectra of the tiny experiment on so many processes, in a store that all share."""
    config = yaml.safe_load((ROOT / "tests/tiny.yaml").read_text(encoding="utf-8"))
    run = config["runs"]["tiny"]
    run["spectrum"]["processes"] = processes
    run["batch"] = {"sizes": [16], "folds": 3, "steps": 6, "noise_folds": 1, "noise_steps": 3}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    targets = [f"results/tiny/spectra/2/{kind}.npz" for kind in KINDS]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "2", "--configfile", "config.yaml"]
    cache = {"TRUEHESSIAN_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(
        [*command, "--", *targets], cwd=folder, env=os.environ | cache, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        kind: spectrum.load(folder / target) for kind, target in zip(KINDS, targets, strict=True)
    }


def test_two_processes_measure_what_one_does_and_one_restores_it(tmp_path):
    shared = spectra(tmp_path / "two", 2)
    assert shared["full"].metadata["processes"] == 2
    restored = spectra(tmp_path / "one", 1)
    for kind in KINDS:
        np.testing.assert_array_equal(restored[kind].ritz_values, shared[kind].ritz_values)
    (tmp_path / "cache").rename(tmp_path / "away")
    alone = spectra(tmp_path / "again", 1)
    assert alone["full"].metadata["processes"] == 1
    for kind in KINDS:
        scale = np.abs(alone[kind].ritz_values).max()
        apart = np.abs(alone[kind].ritz_values - shared[kind].ritz_values).max()
        assert apart < 1e-5 * scale
