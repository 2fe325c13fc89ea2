"""The workflow as its users start it: Snakemake in an empty folder, in processes of its own."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from truehessian.pipeline.stage.fingerprint import closure
from truehessian.report.papers import coverage

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "sklearn", "transformers"}
PRESETS = sorted((ROOT / "workflow/presets").glob("*.yaml"))
EPOCHS = (0, 2)
EXPENSIVE = ("train_network", "measure_")
TARGETS = ("all", *coverage.ITEMS, *coverage.AGGREGATES)
# The items of the papers that each preset is there for.
ITEMS_OF = {
    "minibatch-vgg16": ["minibatch_fig_1_2", "minibatch_fig_3_4", "minibatch_eq_7_9"],
    "minibatch-preresnet110": ["minibatch_fig_3_4", "minibatch_fig_5_6", "minibatch_eq_7_9"],
    "truehessian-preresnet110": list(coverage.AGGREGATES["truehessian_figures"]),
    "truehessian-vgg16bn": [
        "truehessian_fig_3_6",
        "truehessian_tables_1_3",
        "truehessian_eq_18",
        "truehessian_sec_6_1",
    ],
}


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow in a folder, with a store of its own there."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    environment = {**os.environ, "TRUEHESSIAN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "--directory", str(folder), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def reduced(folder: Path) -> str:
    """Run the reduced experiment, which has to succeed; returns all that Snakemake says."""
    config = str(ROOT / "tests/reduced.yaml")
    run = snakemake(folder, *TARGETS, "--configfile", config, "--cores", "2")
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def imported_in(said: str) -> set[str]:
    """Top-level names of all modules in what Python says with PYTHONPROFILEIMPORTTIME."""
    return set(re.findall(r"^import time:.*\| +(\w+)$", said, flags=re.MULTILINE))


def assert_light(said: str, folder: Path) -> None:
    """Nothing heavy is imported by a start but what Snakemake takes itself, for its plugins."""
    (folder / "Snakefile").write_text("rule all:\n")
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "--cores", "1"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    itself = imported_in(run.stderr)
    assert "torch" not in itself
    assert "truehessian" in imported_in(said)
    assert imported_in(said) & HEAVY <= itself


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the reduced experiment has been run."""
    folder = tmp_path_factory.mktemp("workflow")
    reduced(folder)
    return folder


def contract() -> list[str]:
    """Every path of the reduced run, relative to `results`."""
    kinds = ["full", "ggn", "test", "augmented-2"]
    kinds += [f"{kind}-{size}" for kind in ("batch", "noise") for size in (16, 32)]
    kinds += ["subsample-2", "subsample-4"]
    paths = [f"checkpoints/{epoch}.safetensors" for epoch in (0, 1, 2)] + ["training.csv"]
    stems = ["full", "ggn", "batch-16", "batch-32", "noise-16", "noise-32", "augmented-2"]
    for epoch in EPOCHS:
        paths += [f"spectra/{epoch}/{kind}.npz" for kind in kinds]
        paths += [f"spectra/{epoch}/full.vectors.safetensors", f"variance/{epoch}.csv"]
        paths.append(f"evaluation/{epoch}.csv")
    paths += ["spectra/2/batchnorm-32.npz", "spectra/2/groups.npz", "self_test/2.csv"]
    paths += [f"subspace/{epoch}.{suffix}" for epoch in EPOCHS for suffix in ("npz", "csv")]
    paths += ["sharpness/2.csv", "influence/2.csv"]
    tables = ["extremal_ritz_values", "theory_vs_empirical", "true_hessian", "shrinkage"]
    tables += ["outliers", "noise", "noise_scaling", "papers", "augmentation", "batch_predictions"]
    tables += ["batchnorm", "checkpoints", "groups", "prediction_errors", "subspaces"]
    tables += ["self_test", "sharpness", "subspace_overlaps", "influence"]
    paths += [f"tables/{name}.{suffix}" for name in tables for suffix in ("csv", "tex", "md")]
    figures = [f"stem-{stem}-{epoch}" for stem in stems for epoch in EPOCHS]
    figures += [f"boxplot-{end}-{size}" for end in ("largest", "smallest") for size in (16, 32)]
    figures += ["distributions", "overlaps", "noise"]
    figures += ["variance", "theory_vs_empirical", "true_hessian", "shrinkage", "learning_curves"]
    figures += ["self_test", "stem-batchnorm-32-2", "groups"]
    figures += ["sharpness", "subspace_overlaps", "influence"]
    paths += [
        f"figures/{name}.{suffix}" for name in figures for suffix in ("pdf", "svg", "png", "csv")
    ]
    return ["report.html", *(f"reduced/{path}" for path in paths)]


@pytest.mark.slow
def test_one_command_makes_every_file_of_the_contract(finished):
    missing = [path for path in contract() if not (finished / "results" / path).is_file()]
    assert not missing
    drafts = [path for path in (finished / "results").rglob("*") if path.name.startswith(".draft")]
    assert not drafts
    frame = pd.read_csv(finished / "results/reduced/tables/theory_vs_empirical.csv")
    assert len(frame) == len(EPOCHS) * 2 * 2


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(finished, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    said = reduced(finished)
    assert "Nothing to be done" in said
    assert_light(said, finished)


def test_a_start_that_has_nothing_to_do_imports_nothing_heavy(tmp_path, monkeypatch):
    """Not even to check networks and losses: what is known of them is remembered."""
    monkeypatch.setenv("TRUEHESSIAN_MEMORY", str(tmp_path / "memory"))
    wanted = ["results/tiny/dataset.safetensors", "--configfile", str(ROOT / "tests/tiny.yaml")]
    run = snakemake(tmp_path, *wanted, "--cores", "1")
    assert run.returncode == 0, run.stderr
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    again = snakemake(tmp_path, *wanted, "--cores", "1")
    assert "Nothing to be done" in again.stderr
    assert_light(again.stderr, tmp_path)


@pytest.mark.slow
def test_deleted_results_are_restored_and_nothing_expensive_is_computed(finished, tmp_path):
    shutil.copytree(finished / "cache", tmp_path / "cache")  # and no results, no .snakemake
    reduced(tmp_path)
    logs = [
        path
        for path in (tmp_path / "results/reduced/logs").rglob("*.log")
        if path.relative_to(tmp_path / "results/reduced/logs").as_posix().startswith(EXPENSIVE)
    ]
    assert len(logs) == 1 + 5 * len(EPOCHS) + 3
    for path in logs:
        text = path.read_text()
        assert "restored from the store" in text, path
        assert "computing" not in text, path
    for path in contract():
        if path.endswith((".npz", ".safetensors")):
            old, new = (base / "results" / path for base in (finished, tmp_path))
            assert old.read_bytes() == new.read_bytes(), path


def test_a_misspelt_key_stops_the_workflow_with_one_sentence(tmp_path):
    (tmp_path / "mine.yaml").write_text("runs: {digits-vgg: {spectrum: {stepps: 3}}}\n")
    run = snakemake(tmp_path, "--configfile", "mine.yaml", "--dry-run")
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    announcements = ("Config file", "Using workflow specific profile")
    said = [line for line in run.stderr.splitlines() if not line.startswith(announcements)]
    assert said == ["config: unknown key runs.digits-vgg.spectrum.stepps; did you mean steps?"]


def test_the_linter_of_snakemake_has_no_complaint(tmp_path):
    run = snakemake(tmp_path, "--lint")
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert "Congratulations" in said


def test_the_rules_are_formatted():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow/rules"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_can_be_planned_without_their_data(preset, tmp_path):
    for run in yaml.safe_load(preset.read_text())["runs"].values():
        for epoch in run["epochs"] if "checkpoints" in run else []:
            path = tmp_path / run["checkpoints"].format(epoch=epoch)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    targets = ITEMS_OF.get(preset.stem, [])
    aggregates = ["papers"] if targets else []
    config = ("--configfile", str(preset))
    run = snakemake(tmp_path, "all", *targets, *aggregates, *config, "--dry-run")
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert "write_report" in said
    for target in [*targets, *aggregates]:
        assert f"rule {target}:\n    input: results/" in said


@pytest.mark.parametrize(
    ("cores", "measuring", "training"), [("2", None, "2"), ("12", "6", "8"), ("100", "8", "8")]
)
def test_jobs_that_may_run_at_once_share_the_cores(cores, measuring, training, tmp_path):
    """Two checkpoints of one run, and tables and figures with a thread each, which is not said."""
    config = ["--configfile", str(ROOT / "tests/tiny.yaml")]
    run = snakemake(tmp_path, "--dry-run", "--cores", cores, *config)
    assert run.returncode == 0, run.stderr
    jobs = (run.stdout + run.stderr).split("\nrule ")
    threads = {
        job.partition(":")[0]: found[1]
        if (found := re.search(r"\n +threads: (\d+)", job))
        else None
        for job in jobs[1:]
    }
    assert threads["measure_full_spectra"] == measuring
    assert threads["train_network_tiny"] == training
    assert threads["plot_stems_tiny"] is threads["tabulate_extremal_ritz_values"] is None


def test_an_item_that_no_run_can_be_made_into_is_refused_with_one_sentence(tmp_path):
    config = ("--configfile", str(ROOT / "tests/tiny.yaml"))
    run = snakemake(tmp_path, "truehessian_tables_1_3", *config, "--cores", "1")
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    (sentence,) = [line for line in run.stderr.splitlines() if line.startswith("config:")]
    assert sentence == (
        "config: truehessian_tables_1_3: it needs runs.tiny.augmentation, which is null; give a "
        "section, or {} for the defaults"
    )
    assert not list((tmp_path / ".snakemake/locks").glob("*"))


def test_each_item_has_a_rule_that_says_which_it_is():
    text = (ROOT / "workflow/rules/papers.smk").read_text()
    described = dict(re.findall(r'^rule (\w+):\n    """(.*)"""', text, flags=re.MULTILINE))
    assert sorted(described) == sorted([*coverage.ITEMS, *coverage.AGGREGATES])
    for name in coverage.ITEMS:
        paper = "Mini-batch" if name.startswith("minibatch") else "True-Hessian"
        assert described[name].startswith(f"{paper} paper, "), name
        assert f'item("{name}"),' in text


BASE = {
    "dataset": {"name": "digits", "train_examples": 96, "test_examples": 64},
    "model": {"name": "mlp", "hidden": [4]},
    "epochs": [0, 2],
    "spectrum": {"steps": 8, "ggn_steps": 4},
    "batch": {"sizes": [16], "steps": 6, "noise_steps": 4},
    "augmentation": {"factors": [{"factor": 2, "steps": 4}]},
    "variance": {"group_size": 8, "held_out_steps": 5},
}
VARIANTS = {
    "no-batch": {"batch": None},
    "no_augmentation": {"augmentation": None},
    "no.variance": {"variance": None},
    "spectra-only": {"batch": None, "augmentation": None, "variance": None},
}


def test_runs_of_all_kinds_can_be_planned_side_by_side(tmp_path):
    """Sections switched off, weights of one's own, and names with every character allowed."""
    runs = {
        name: {**BASE, "training": {"epochs": 2}, **change} for name, change in VARIANTS.items()
    }
    runs["imported"] = {**BASE, "checkpoints": "weights/{epoch}.safetensors"}
    (tmp_path / "weights").mkdir()
    for epoch in EPOCHS:
        (tmp_path / f"weights/{epoch}.safetensors").touch()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"analyse": list(runs), "runs": runs}))
    run = snakemake(tmp_path, "--configfile", "mine.yaml", "--dry-run")
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    for name in runs:
        assert f"results/{name}/spectra/0/full.npz" in said
    for path in ("no-batch/spectra/0/batch-", "no.variance/variance/", "imported/training.csv"):
        assert f"results/{path}" not in said


# Names in conda's channels that differ from those on the Python package index.
CONDA = {"torch": "pytorch"}
# Names by which packages are imported that differ from their own, or come with another one.
IMPORTS = {
    "fontTools": "matplotlib",
    "lazy_loader": "lazy-loader",
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
}


def environment(name: str) -> dict[str, str]:
    """Packages of a conda environment with their version constraints."""
    content = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    return dict(item.split(" ", 1) for item in content["dependencies"])


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "envs").glob("*.yaml")))
def test_conda_environments_have_the_versions_that_the_project_is_tested_with(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = dict(item.split("==") for item in project["tool"]["uv"]["constraint-dependencies"])
    packages = environment(name)
    assert packages.pop("python") == project["project"]["requires-python"]
    names = {conda: pypi for pypi, conda in CONDA.items()}
    assert packages == {package: f"={pins[names.get(package, package)]}" for package in packages}


def rules() -> list[tuple[str, str]]:
    """Script and environment of every rule."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    pattern = r'envs/(\w+)\.yaml"(?:(?!envs/).)*?\bcode(?:_for_run)?\(\s*"(\w+)"'
    found = re.findall(pattern, text, flags=re.DOTALL)
    assert text.count("script:\n") == text.count('"../run_stage.py"') == len(found)
    return [(script, env) for env, script in found]


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"truehessian"}


def test_every_script_belongs_to_a_rule():
    assert sorted(script for script, _ in rules()) == sorted(
        path.stem for path in (ROOT / "scripts").glob("*.py")
    )


@pytest.mark.parametrize(("script", "env"), rules())
def test_a_conda_environment_holds_what_its_scripts_import(script, env):
    path = ROOT / "scripts" / f"{script}.py"
    files = [path, *closure(path).values()]
    # A stage asks PyTorch itself, of its device, only if it uses it.
    around = {
        name
        for folder in ("stage", "config")
        for file in (ROOT / "src/truehessian/pipeline" / folder).glob("*.py")
        for name in imported(file)
    }
    needed = set().union(*map(imported, files)) | (around - {"torch"})
    assert {CONDA.get(name, IMPORTS.get(name, name)) for name in needed} <= set(environment(env))
