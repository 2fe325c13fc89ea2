"""What the page on the architecture says of the code is so."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rooms
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PLACES = sorted(
    set(re.findall(r"`((?:src|scripts|workflow|tests)/[\w/.]+\.\w+)(?:: (\w+))?`", PAGE))
)


def test_the_picture_has_the_rooms_in_their_order():
    (picture,) = re.findall(r"```mermaid\nflowchart LR\n(.*?)```", PAGE, re.DOTALL)
    assert tuple(picture.split(" --> ")[i].strip() for i in range(len(rooms.ROOMS))) == rooms.ROOMS
    assert re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE) == list(rooms.ROOMS)


def test_the_ground_floor_is_complete():
    (sentence,) = re.findall(r"uses none of them:(.*?)\n\n", PAGE, re.DOTALL)
    assert sorted(re.findall(r"`(\w+)`", sentence)) == sorted(rooms.GROUND)


@pytest.mark.parametrize(("path", "name"), PLACES)
def test_every_place_in_the_code_is_there(path, name):
    text = (ROOT / path).read_text(encoding="utf-8")
    if name:
        defined = {getattr(node, "name", None) for node in ast.parse(text).body}
        assert name in defined


def test_every_catalogue_is_listed():
    rows = re.findall(r"^\| `([A-Z]+)` \|.*\| `(src/\S+)` \|$", PAGE, re.MULTILINE)
    source = {path: path.read_text(encoding="utf-8") for path in rooms.modules().values()}
    found = {
        (name, str(path.relative_to(ROOT)))
        for path, text in source.items()
        for name in re.findall(r"^([A-Z]+) = Registry\(", text, re.MULTILINE)
    }
    assert set(rows) == found


def test_the_number_is_one_of_the_default_experiment():
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert "digits-preresnet" in settings["analyse"]
    run = settings["runs"]["digits-preresnet"]
    assert 30 in run["epochs"]
    assert 64 in run["batch"]["sizes"]
    assert run["batch"]["folds"] > 3


def test_the_number_can_be_had_without_the_workflow():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Eigenpairs: 1 of P" in done.stdout


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE))))
def test_links_exist(target):
    assert (ROOT / "docs" / target).resolve().exists()
