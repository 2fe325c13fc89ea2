"""The recipes for contributors work: each is followed to the letter in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("src", "tests", "scripts", "workflow", "pyproject.toml", "config.yaml", "Snakefile")
_, *SECTIONS = re.split(r"^### ", PAGE.partition("## Recipes")[2], flags=re.MULTILINE)
RECIPES = {section.partition("\n")[0]: section for section in SECTIONS}
MOST_LINES = 40


def blocks(recipe: str) -> dict[str, str]:
    """What a recipe puts into the tree, by path."""
    found = re.findall(r"^```\w+\n(.*?)^```", RECIPES[recipe], flags=re.DOTALL | re.MULTILINE)
    return dict(block.removeprefix("# ").split("\n", 1) for block in found)


@pytest.fixture
def tree(tmp_path):
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def follow(tree: Path, recipe: str) -> list[str]:
    """Write the files and put the lines into the catalogues; gives the recipe's tests."""
    for name, text in blocks(recipe).items():
        path = tree / name
        if path.exists():
            before = path.read_text(encoding="utf-8")
            head, brace, tail = before.partition("    {\n")
            assert brace, f"{name} holds no catalogue"
            lines = "".join(f"        {line}\n" for line in text.splitlines())
            path.write_text(head + brace + lines + tail, encoding="utf-8")
        else:
            path.write_text(text, encoding="utf-8")
    return [name for name in blocks(recipe) if name.startswith("tests/")]


def run(tree: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_work(tree, recipe):
    tests = follow(tree, recipe)
    assert tests
    run(tree, "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_in_the_style_of_the_house(tree, recipe):
    follow(tree, recipe)
    files = [name for name in blocks(recipe) if name.endswith(".py")]
    run(tree, "ruff", "check", *files)
    run(tree, "ruff", "format", "--check", *files)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_short(recipe):
    lines = {name: len(text.splitlines()) for name, text in blocks(recipe).items()}
    assert all(count <= MOST_LINES for count in lines.values()), lines


def test_there_is_a_recipe_for_what_there_can_be_several_of():
    expected = {"An operator", "A network", "A source of data"}
    assert set(RECIPES) >= {*expected, "A prediction", "A figure with its table"}


def test_the_first_commands_are_three():
    commands = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)[0].splitlines()
    assert len(commands) == 3
    assert commands[-1].startswith("uv run pytest")
    assert (ROOT / commands[-1].split()[-1]).is_dir()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE))))
def test_links_exist(target):
    assert target.startswith("https://") or (ROOT / target).exists()
