"""Figures and tables of the report as entries, and what a further entry takes."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from table_cases import make_spectrum

from truehessian import report
from truehessian.pipeline.config import checks
from truehessian.report.contents import CONTENTS, catalogue
from truehessian.report.contents.base import SECTIONS
from truehessian.spectra import spectrum

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "workflow/report"
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "scripts", "src", "workflow", "tests")


def configured(name):
    settings = yaml.safe_load((ROOT / f"tests/{name}.yaml").read_text())
    return checks.check(settings).runs[name].model_dump()


@pytest.fixture
def extended(monkeypatch):
    """The report with a further figure and its table."""
    monkeypatch.setitem(CONTENTS._entries, "negative_share", "extra_entries:NEGATIVE_SHARE")


def test_every_entry_bears_the_name_of_its_line_and_a_section_of_the_page():
    for name, content in catalogue.entries().items():
        assert content.name == name
        assert content.section in SECTIONS
        assert content.figure or content.table


def test_a_run_has_the_figures_and_tables_of_its_sections():
    figures = catalogue.figures_of(configured("reduced"))
    assert {"stem-full-0", "stem-batch-32-2", "stem-noise-16-0", "stem-ggn-2"} <= set(figures)
    assert {"stem-augmented-2-0", "boxplot-smallest-32", "overlaps", "self_test"} <= set(figures)
    assert [name for name in figures if "batchnorm" in name] == ["stem-batchnorm-32-2"]
    assert {"batchnorm", "augmentation"} <= set(catalogue.tables_of(configured("reduced")))
    assert "variance" not in catalogue.tables_of(configured("reduced"))  # the report collects it

    assert sorted(catalogue.figures_of(configured("tiny"))) == [
        "density-1", "density-2", "learning_curves", "shrinkage", "stem-full-1", "stem-full-2",
        "stem-ggn-1", "stem-ggn-2", "subspace_overlaps",
    ]  # fmt: skip
    assert sorted(catalogue.tables_of(configured("tiny"))) == [
        "checkpoints", "extremal_ritz_values", "papers", "shrinkage", "subspace_overlaps",
    ]  # fmt: skip


def test_a_case_has_the_files_of_its_numbers_or_of_all_that_the_run_has(extended):
    run = configured("reduced")
    (whole,) = catalogue.cases_of(CONTENTS.load("negative_share"), run)
    assert whole.inputs == {"spectra": ["spectra/0/full.npz", "spectra/2/full.npz"]}
    first, *_ = catalogue.cases_of(CONTENTS.load("stem-batch"), run)
    assert first.figure == "stem-batch-16-0"
    assert first.numbers == {"batch_size": 16, "epoch": 0}
    assert first.inputs == {"spectrum": ["spectra/0/batch-16.npz"]}


def test_a_further_entry_is_made_and_shown_with_its_captions(extended, tmp_path):
    folder = tmp_path / "mine"
    for epoch in (0, 2):
        (folder / f"spectra/{epoch}").mkdir(parents=True)
        values = [[-1.0, 0.5, 1.0, 2.0 + epoch]]
        path = folder / f"spectra/{epoch}/full.npz"
        spectrum.save(path, make_spectrum(values, epoch=epoch, num_parameters=4))
    make(folder, configured("reduced"), "negative_share")

    table = pd.read_csv(folder / "tables/negative_share.csv")
    assert table.to_dict("list") == {"epoch": [0, 2], "negative_share": [0.25, 0.25]}
    assert pd.read_csv(folder / "figures/negative_share.csv").equals(table)
    assert "Share of negative eigenvalues" in (folder / "tables/negative_share.tex").read_text()
    (run,) = report.collect(tmp_path, ["mine"])
    page = report.render([run], title="Mine", template_folder=TEMPLATES)
    section = page[page.index('id="run-1-extremes"') : page.index('id="run-1-variance"')]
    assert "<strong>Share of negative eigenvalues</strong>, 25" in section
    assert "data:image/svg+xml" in section
    assert "<strong>The same in numbers.</strong>" in section
    assert "Further results" not in page


def make(folder, run, name):
    path = ROOT / "scripts/make_content.py"
    spec = importlib.util.spec_from_file_location("make_content", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (folder / "tables").mkdir()
    (folder / "figures").mkdir()
    cases = [
        {"numbers": case.numbers, "inputs": case.inputs}
        for case in catalogue.cases_of(CONTENTS.load(name), run)
    ]
    names = [path for case in cases for paths in case["inputs"].values() for path in paths]
    module.main(
        [str(folder / path) for path in names],
        table_out=[str(folder / f"tables/{name}.{suffix}") for suffix in ("csv", "tex", "md")],
        figures_out=[str(folder / f"figures/{name}.{suffix}") for suffix in ("svg", "csv")],
        name=name,
        names=names,
        cases=cases,
    )


def test_a_further_figure_with_its_table_is_one_file_and_one_line(tmp_path):
    """In a copy of the project the workflow finds its rule, its files and its input by itself."""
    for part in PARTS:
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    room = tmp_path / "src/truehessian/report/contents"
    shutil.copy(ROOT / "tests/extra_entries.py", room / "negative_share.py")
    lines = (room / "__init__.py").read_text()
    further = '        "negative_share": f"{_ROOM}.negative_share:NEGATIVE_SHARE",\n'
    (room / "__init__.py").write_text(re.sub(r"(?=    },\n\)\n)", further, lines))

    command = [sys.executable, "-P", "-m", "snakemake", "--configfile", "tests/tiny.yaml"]
    done = subprocess.run(
        [*command, "--dry-run"],
        cwd=tmp_path,
        env={**os.environ, "TRUEHESSIAN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (job,) = re.findall(r"rule make_negative_share_tiny:\n(.*?)\n\n", done.stdout, flags=re.DOTALL)
    assert "input: results/tiny/spectra/1/full.npz, results/tiny/spectra/2/full.npz" in job
    for suffix in ("csv", "tex", "md"):
        assert f"results/tiny/tables/negative_share.{suffix}" in job
    for suffix in ("pdf", "svg", "png", "csv"):
        assert f"results/tiny/figures/negative_share.{suffix}" in job


def test_inputs_of_a_section_are_those_of_runs_that_have_it_at_its_epochs():
    content, run = CONTENTS.load("spectral_distances"), configured("reduced")

    def inputs(parts):
        return [
            case.inputs["parts"] for case in catalogue.cases_of(content, run | {"parts": parts})
        ]

    assert inputs(None) == [[], []]
    assert inputs({"epochs": [2]}) == [[], ["variance/2.parts.npz"]]
    assert inputs({"epochs": None}) == [["variance/0.parts.npz"], ["variance/2.parts.npz"]]
