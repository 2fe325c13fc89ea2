"""What docs/reproduction.md says of the papers is what the workflow and the package hold."""

import re
from pathlib import Path

import pytest
import yaml

from truehessian.pipeline.config import checks
from truehessian.report.papers import coverage, published

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"snakemake (\w+) --configfile (workflow/presets/[\w-]+\.yaml)", TEXT)


@pytest.mark.parametrize(("target", "preset"), COMMANDS)
def test_each_command_asks_for_a_target_that_its_preset_can_serve(target, preset):
    settings = yaml.safe_load((ROOT / preset).read_text(encoding="utf-8"))
    runs = checks.check(settings).analysed
    assert coverage.runs_of(target, {name: run.model_dump() for name, run in runs.items()})


def test_every_item_has_a_row():
    assert {target for target, _ in COMMANDS} == {*coverage.ITEMS, "papers"}


def test_published_and_implied_numbers_are_those_of_the_package():
    frame = published.load()
    for quantity in ("full_largest", "batch_largest", "goe_largest"):
        for value in frame.loc[frame["quantity"] == quantity, "published"]:
            assert f"{value:.2f}" in TEXT
    for value in frame.loc[frame["quantity"] == "isotropic_variance", "published"]:
        assert f"{value:,.0f}" in TEXT


def test_links_to_files_exist():
    for path in re.findall(r"`((?:tests|notebooks|workflow)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path
    assert TEXT.count("<!-- laptop results -->") == 1
