"""What counts as a change of code, and which code each script of the workflow reaches."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from truehessian.pipeline.stage.fingerprint import closure, fingerprint, module_digests, reaches

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))

SCRIPT = '''"""A script."""

from truehessian import operators, stage


def main(x):
    """Double it."""
    return operators.product(x)


if __name__ == "__main__":
    stage.run(main, snakemake)
'''
FILES = {
    "__init__.py": '"""The package."""\n',
    "operators/__init__.py": "from truehessian.operators.hessian import product\n",
    "operators/hessian.py": (
        '"""A module."""\n\n\ndef product(x):\n    """Double."""\n'
        "    from truehessian import deep\n\n    return deep.twice(x)  # a comment\n"
    ),
    "deep.py": "def twice(x):\n    return 2 * x\n",
    "unreached.py": "VALUE = 1\n",
    "stage/__init__.py": "from truehessian import unreached\n",
}


@pytest.fixture
def project(tmp_path):
    """A script and a package that it reaches in part; returns the folder."""
    for name, text in FILES.items():
        path = tmp_path / "src/truehessian" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "measure.py").write_text(SCRIPT)
    return tmp_path


def of(project: Path) -> str:
    return fingerprint(project / "measure.py", project / "src")


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_fingerprint_begins_with_the_name_of_the_script(project):
    assert of(project).startswith("measure:")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("measure.py", '"""Double it."""', '"""Something else."""'),
        ("measure.py", '    """Double it."""\n', ""),
        ("measure.py", "return operators.product(x)", "return operators.product( x )  # product"),
        ("measure.py", '"""A script."""\n', "# no docstring, two more lines\n\n\n"),
        ("src/truehessian/operators/hessian.py", "# a comment", "# another"),
        ("src/truehessian/operators/hessian.py", '"""A module."""\n', '"""New."""\n\n\n'),
        ("src/truehessian/deep.py", "return 2 * x", "return (\n        2 * x\n    )"),
    ],
)
def test_comments_docstrings_and_formatting_are_no_change(project, name, old, new):
    before = of(project)
    edit(project, name, old, new)
    assert of(project) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("measure.py", "product(x)", "product(-x)"),
        ("src/truehessian/__init__.py", '"""The package."""', "FLAG = True"),
        ("src/truehessian/operators/__init__.py", "product", "product as product"),
        ("src/truehessian/operators/hessian.py", "twice(x)", "twice(x) + 0"),
        ("src/truehessian/deep.py", "2 * x", "3 * x"),
    ],
)
def test_a_change_in_anything_that_is_reached_is_one(project, name, old, new):
    before = of(project)
    edit(project, name, old, new)
    assert of(project) != before


def test_a_package_whose_module_is_imported_is_reached_too(project):
    edit(project, "measure.py", "import operators, stage", "import stage")
    edit(project, "measure.py", "operators.product(x)", "product(x)")
    edit(
        project,
        "measure.py",
        "def main",
        "from truehessian.operators.hessian import product\n\ndef main",
    )
    before = of(project)
    edit(project, "src/truehessian/operators/__init__.py", "import product", "import product as p")
    assert of(project) != before


def test_strings_that_are_no_docstrings_count(project):
    edit(project, "src/truehessian/deep.py", "2 * x", "len('ab') * x")
    before = of(project)
    edit(project, "src/truehessian/deep.py", "'ab'", "'abc'")
    assert of(project) != before


@pytest.mark.parametrize("name", ["unreached.py", "stage/__init__.py"])
def test_code_that_is_not_reached_or_only_moves_files_does_not_count(project, name):
    before = of(project)
    (project / "src/truehessian" / name).write_text("VALUE = 2\n")
    assert of(project) == before


def test_digests_by_module_say_what_has_changed(project):
    def digests():
        return module_digests(project / "measure.py", project / "src")

    before = digests()
    assert set(before) == {
        "measure",
        "truehessian",
        "truehessian.operators",
        "truehessian.operators.hessian",
        "truehessian.deep",
    }
    edit(project, "src/truehessian/deep.py", "2 * x", "3 * x")
    after = digests()
    assert [name for name in before if before[name] != after[name]] == ["truehessian.deep"]


def reached(script: Path) -> set[str]:
    """Modules that a script of the workflow reaches, without the package's name."""
    return {name.removeprefix("truehessian.") for name in closure(script, ROOT / "src")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_reach_the_code_of_their_own_stage_only(script):
    modules = {name.split(".")[0] for name in reached(script)}
    assert "stage" not in modules
    presentation, torch_only = {"plots", "report", "tables"}, {"operators", "lanczos", "training"}
    kind = script.stem.split("_")[0]
    if kind in ("prepare", "train", "import", "measure"):
        assert not modules & presentation
    else:
        assert not modules & torch_only
    if kind == "measure":
        assert {"operators", "lanczos"} <= modules
        assert "training" not in modules


def test_every_module_imported_when_a_script_is_loaded_is_in_its_closure():
    """The closure is read off the source; Python itself says what is really imported."""
    script = ROOT / "scripts/measure_directions.py"
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='loaded');"
        "print(*(name for name in sys.modules if name.startswith('truehessian')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(script)], capture_output=True, text=True, check=True
    )
    # What surrounds a stage, and how it tells its inputs apart, has no part in its numbers.
    around = ("truehessian.pipeline.stage", "truehessian.data.files")
    loaded = {name for name in run.stdout.split() if not name.startswith(around)}
    assert "truehessian.operators.hessian" in loaded
    assert loaded <= set(closure(script, ROOT / "src"))


def test_a_package_is_reached_through_any_module_that_imports_it(project):
    def reached():
        return reaches(project / "measure.py", "torch", project / "src")

    (project / "src/truehessian/stage/runner.py").write_text("import torch\n")
    assert not reached()
    (project / "src/truehessian/deep.py").write_text("def twice():\n    from torch import nn\n")
    assert reached()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_device_is_chosen_by_a_stages_settings_and_by_nothing_else(script):
    """By which the key of a stage knows whether it uses one."""
    choices = ("devices.resolve", "devices.claim")
    calls = [
        node
        for path in [script, *closure(script, ROOT / "src").values()]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in choices
    ]
    assert {ast.unparse(call) for call in calls} <= {
        f"{how}(settings['device'])" for how in choices
    }
    assert bool(calls) == ("devices" in reached(script))


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "src/truehessian").rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT / "src").as_posix(),
)
def test_modules_import_by_absolute_names_which_the_fingerprint_follows(path):
    tree = ast.parse(path.read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
