"""What counts as a change of code, and which code each script of the workflow reaches."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from truehessian.pipeline.stage.fingerprint import closure, fingerprint, imports, module_digests

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
PACKAGES = sorted((ROOT / "src").rglob("__init__.py"))

SCRIPT = '''"""A script."""

from truehessian import operators
from truehessian.pipeline import settings


def main(x):
    """Double it."""
    return operators.product(x)
'''
FILES = {
    "__init__.py": '"""The package."""\n',
    "operators/__init__.py": "",
    "operators/__init__.pyi": "from .hessian import product as product\n",
    "operators/hessian.py": (
        '"""A module."""\n\n\ndef product(x):\n    """Double."""\n'
        "    from truehessian import deep\n\n    return deep.twice(x)  # a comment\n"
    ),
    "operators/ggn.py": "FACTOR = 3\n",
    "deep.py": (
        "import logging\n\nfrom truehessian import text\n\n"
        "logger = logging.getLogger(__name__)\n\n\n"
        "def twice(x):\n    if x is None:\n        raise ValueError(f'nothing, got {x}')\n"
        "    logger.info('%s', text.number(x))\n    return 2 * x\n"
    ),
    "text.py": "def number(x):\n    return f'{x:.1f}'\n",
    "unreached.py": "VALUE = 1\n",
    "pipeline/__init__.py": "",
    "pipeline/stage/__init__.py": "from truehessian import unreached\n",
    "report/__init__.py": "",
    "report/page.py": "from truehessian import text\n",
}


@pytest.fixture
def project(tmp_path):
    """A script and a package that it reaches in part; returns the folder."""
    for name, content in FILES.items():
        path = tmp_path / "src/truehessian" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "measure.py").write_text(SCRIPT)
    return tmp_path


def of(project: Path, *uses: str) -> str:
    return fingerprint(project / "measure.py", uses, project / "src")


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
    ("old", "new"),
    [
        ("'%s'", "'doubles %s'"),
        ("    return 2 * x", "    logger.warning('twice')\n    return 2 * x"),
        ("    logger.info('%s', text.number(x))\n", ""),
        ("import logging\n\n", ""),
        ("logger = logging.getLogger(__name__)\n", ""),
        ("f'nothing, got {x}'", "'there must be a number'"),
        ("nothing, got", "no number"),
    ],
)
def test_log_lines_and_words_of_errors_are_no_change(project, old, new):
    before = of(project)
    edit(project, "src/truehessian/deep.py", old, new)
    assert of(project) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("measure.py", "product(x)", "product(-x)"),
        ("src/truehessian/operators/__init__.pyi", ".hessian", ".ggn"),
        ("src/truehessian/operators/hessian.py", "twice(x)", "twice(x) + 0"),
        ("src/truehessian/deep.py", "2 * x", "3 * x"),
        ("src/truehessian/deep.py", "ValueError", "TypeError"),
        ("src/truehessian/deep.py", "if x is None:", "if not x:"),
    ],
)
def test_a_change_in_anything_that_is_reached_is_one(project, name, old, new):
    before = of(project)
    edit(project, name, old, new)
    assert of(project) != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("__init__.py", "FLAG = True\n"),
        ("operators/__init__.py", "OPERATORS = {'ggn': 'truehessian.operators.ggn:FACTOR'}\n"),
        ("operators/ggn.py", "FACTOR = 4\n"),
        ("unreached.py", "VALUE = 2\n"),
        ("text.py", "def number(x):\n    return f'{x:.3f}'\n"),
        ("pipeline/stage/__init__.py", "VALUE = 2\n"),
    ],
)
def test_packages_catalogues_wording_and_what_is_around_a_stage_do_not_count(
    project, name, content
):
    before = of(project)
    (project / "src/truehessian" / name).write_text(content)
    assert of(project) == before


@pytest.mark.parametrize("module", ["truehessian import text", "truehessian.report import page"])
def test_wording_counts_where_it_is_read(project, module):
    edit(project, "measure.py", "def main", f"from {module}\n\n\ndef main")
    before = of(project)
    edit(project, "src/truehessian/text.py", ":.1f", ":.3f")
    assert of(project) != before


def test_entries_of_a_catalogue_count_where_they_are_used(project):
    ggn, own = "truehessian.operators.ggn:FACTOR", "networks:Mine"
    plain, using = of(project), of(project, ggn, own)
    assert of(project, own) == plain != using
    edit(project, "src/truehessian/operators/ggn.py", "3", "4")
    assert (of(project), of(project, ggn)) != (plain, using)
    assert of(project) == plain


@pytest.mark.parametrize(
    "line",
    [
        "from truehessian.operators import product",
        "from truehessian.operators import *",
        "from truehessian.operators.hessian import product",
        "import truehessian.operators.hessian",
        "import truehessian.operators",
    ],
)
def test_whichever_way_a_module_is_imported_it_is_reached(project, line):
    edit(project, "measure.py", "from truehessian import operators", line)
    reached = closure(project / "measure.py", source=project / "src")
    assert set(reached) == {"truehessian.operators.hessian", "truehessian.deep"}


def test_strings_that_are_no_docstrings_count(project):
    edit(project, "src/truehessian/deep.py", "2 * x", "len('ab') * x")
    before = of(project)
    edit(project, "src/truehessian/deep.py", "'ab'", "'abc'")
    assert of(project) != before


def test_digests_by_module_say_what_has_changed(project):
    def digests():
        return module_digests(project / "measure.py", source=project / "src")

    before = digests()
    assert set(before) == {
        "measure",
        "truehessian.operators.hessian",
        "truehessian.deep",
    }
    edit(project, "src/truehessian/deep.py", "2 * x", "3 * x")
    after = digests()
    assert [name for name in before if before[name] != after[name]] == ["truehessian.deep"]


def reached(script: Path) -> set[str]:
    """Modules that a script of the workflow reaches, without the package's name."""
    return {name.removeprefix("truehessian.") for name in closure(script)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_reach_the_code_of_their_own_stage_only(script):
    modules = reached(script)
    rooms = {name.split(".")[0] for name in modules}
    assert "pipeline" not in rooms
    kind = script.stem.split("_")[0]
    if kind in ("prepare", "train", "import", "measure"):
        assert "report" not in rooms
    else:
        assert not rooms & {"operators", "networks", "measurements"}
        assert "spectra.lanczos" not in modules
    if kind == "measure":
        assert {"operators.mean", "spectra.lanczos"} <= modules
        assert "networks.training" not in modules


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
    around = (
        "truehessian.pipeline",
        "truehessian.data.catalogue",
        "truehessian.data.own_augmentation",  # of scripts that take augmented examples
        "truehessian.data.sources",
        "truehessian.networks.libraries.library",
        "truehessian.networks.places",
        "truehessian.text",
        "truehessian.display",
        "truehessian.registry",
    )
    packages = {".".join(p.parent.relative_to(ROOT / "src").parts) for p in PACKAGES}
    loaded = {name for name in run.stdout.split() if not name.startswith(around)} - packages
    assert "truehessian.operators.mean" in loaded
    assert loaded <= set(closure(script))


def test_a_package_is_reached_through_any_module_that_imports_it(project):
    def reached():
        return imports(project / "measure.py", source=project / "src")

    (project / "src/truehessian/pipeline/stage/runner.py").write_text("import torch\n")
    assert reached() == set()
    text = "def twice():\n    import json\n    from torch.nn import Linear\n"
    (project / "src/truehessian/deep.py").write_text(text)
    assert reached() == {"torch.nn", "torch.nn.Linear"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_device_is_chosen_by_a_stages_settings_and_by_nothing_else(script):
    """By which the key of a stage knows whether it uses one."""
    choices = ("devices.resolve", "devices.claim")
    calls = [
        node
        for path in [script, *closure(script).values()]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in choices
    ]
    assert {ast.unparse(call) for call in calls} <= {f"{how}(settings.device)" for how in choices}
    assert bool(calls) == ("devices" in reached(script))


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "src/truehessian").rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT / "src").as_posix(),
)
def test_modules_import_by_absolute_names_which_the_fingerprint_follows(path):
    tree = ast.parse(path.read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
