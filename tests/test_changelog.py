"""Fragments of the changelog are of a kind that the tool puts into it."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FRAGMENTS = sorted((ROOT / "changelog.d").glob("+*"))
TYPES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]


def test_every_file_is_a_fragment_of_a_known_category():
    others = {path.name for path in (ROOT / "changelog.d").iterdir()} - {p.name for p in FRAGMENTS}
    assert others == {"README.md"}
    for path in FRAGMENTS:
        _, category, suffix = path.name.rsplit(".", 2)
        assert category in [kind["directory"] for kind in TYPES], path.name
        assert suffix == "md"
        assert path.read_text().strip()


def test_there_is_a_category_for_changed_results():
    assert [kind["name"] for kind in TYPES] == ["Added", "Changed", "Fixed", "Changed results"]


def test_the_tool_puts_all_of_them_into_the_changelog():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9"]
    draft = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "## 9.9" in draft
    for path in FRAGMENTS:
        assert path.read_text().split("\n")[0] in draft


def test_the_changelog_has_the_place_where_they_go():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.index("<!-- towncrier release notes start -->") < text.index("## Unreleased")
