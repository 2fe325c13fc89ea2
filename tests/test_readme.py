"""What the README shows works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from truehessian.networks import registry
from truehessian.pipeline import cli
from truehessian.pipeline.config import checks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def named(language: str, name: str) -> str:
    (block,) = [block for block in blocks(language) if block.startswith(f"# {name}\n")]
    return block


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "1"]
    environment = {**os.environ, "TRUEHESSIAN_CACHE": str(folder / "cache")}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_every_block_is_of_a_kind_that_is_tested():
    kinds = set(re.findall(r"```(\w+)\n", README))
    assert kinds == {"console", "python", "yaml"}
    assert len(blocks("python")) == 2
    assert [line.split()[:3] for line in blocks("console")[0].splitlines()] == [
        ["uv", "run", "snakemake"],
        ["uv", "run", "pytest"],
    ]


def test_the_changed_experiment_is_valid():
    checks.check(yaml.safe_load(named("yaml", "mine.yaml")))


def test_changed_experiment_is_planned_without_its_data(tmp_path):
    (tmp_path / "mine.yaml").write_text(named("yaml", "mine.yaml"))
    dry = snakemake(tmp_path, "--configfile", "mine.yaml", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "train_network_wide" in dry.stdout + dry.stderr
    plan = snakemake(tmp_path, "plan", "--configfile", "mine.yaml")
    assert plan.returncode == 0, plan.stderr
    assert "wide" in plan.stdout


def test_own_network_goes_from_its_weights_to_a_spectrum(tmp_path, monkeypatch):
    (tmp_path / "mynet.py").write_text(named("python", "mynet.py"))
    (tmp_path / "more.yaml").write_text(named("yaml", "more.yaml"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    network = registry.build("mynet:make", num_classes=10, input_shape=(1, 8, 8), seed=0, hidden=32)
    torch.save(network.state_dict(), "weights.pt")
    (commands,) = [block for block in blocks("console") if "truehessian init" in block]
    init, plan, everything = (line.split()[2:] for line in commands.splitlines())
    assert init[0] == "truehessian"
    assert cli.main(init[1:]) == 0
    assert plan == ["snakemake", "plan", "--configfile", "own.yaml"]
    targets = [f"results/own/spectra/1/{name}.npz" for name in ("full", "fisher")]
    run = snakemake(tmp_path, *everything[1:], "--", *targets)
    assert run.returncode == 0, run.stdout + run.stderr
    assert all((tmp_path / target).exists() for target in targets)


def test_notebook_example_runs():
    (example,) = [block for block in blocks("python") if "import truehessian as th" in block]
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Hessian(MLP, P=1,210, N=256" in done.stdout
    assert done.stdout.count("P = 1,210") == 3


def test_notebook_example_needs_one_import():
    (example,) = [block for block in blocks("python") if "import truehessian as th" in block]
    assert re.findall(r"^(?:import|from) .*", example, re.M) == ["import truehessian as th"]


def test_figure_and_links_exist():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target
