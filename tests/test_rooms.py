"""Imports go one way through the rooms, and modules and functions are of a size to be read."""

import subprocess
import sys

import pytest
import rooms

MODULES = rooms.modules()
GRAPH = rooms.imports(MODULES)
SCRIPTS = sorted((rooms.SOURCE.parent / "scripts").glob("*.py"))

# Imports modules one after another where there is no PyTorch, and says which fail.
BLOCKED = """
import importlib, sys
class NoTorch:  # no `None` in sys.modules, which SciPy would take for PyTorch
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: {error}")
"""


def test_every_import_goes_to_the_left():
    assert rooms.wrong_imports(GRAPH) == []


def test_no_modules_import_each_other():
    assert rooms.cycles(GRAPH) == []


def test_every_module_is_in_a_room_or_on_the_ground_floor():
    assert {rooms.room_of(name) for name in MODULES} == {"", *rooms.ROOMS, *rooms.GROUND}


def test_importing_a_room_imports_none_of_its_modules():
    """Their `__init__` files hold lazy names and catalogues, so that no result depends on them."""
    inits = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert {name: GRAPH[name] - set(rooms.GROUND) for name in inits} == {n: set() for n in inits}


def test_what_needs_no_pytorch_is_imported_without_it():
    """The reports of a cluster's results are written on machines that have none."""
    names = [
        f"{rooms.PACKAGE}.{name}"
        for name in MODULES
        if any(name == free or name.startswith(f"{free}.") for free in rooms.WITHOUT_TORCH)
    ]
    assert len(names) > 60
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *names], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


def test_modules_are_of_a_size_to_be_read():
    assert rooms.long_modules([*MODULES.values(), *SCRIPTS]) == []


def test_functions_are_of_a_size_to_be_read():
    assert rooms.long_functions([*MODULES.values(), *SCRIPTS]) == []


# ------------------------------------------------------------------------ the checker, on a tree


@pytest.fixture
def tree(tmp_path):
    """A function that writes files of a package and gives its graph of imports."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / rooms.PACKAGE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return rooms.imports(rooms.modules(tmp_path))

    return write


@pytest.mark.parametrize(
    "line",
    [
        "import truehessian.report.page",
        "from truehessian.report import page",
        "from truehessian.report.page import write",
        "def late():\n    from truehessian.report.page import write",
    ],
)
@pytest.mark.parametrize("where", ["operators/base.py", "text.py"])
def test_an_import_to_the_right_is_found(tree, where, line):
    graph = tree(
        {"__init__.py": "", "report/__init__.py": "", "report/page.py": "write = 1", where: line}
    )
    (sentence,) = rooms.wrong_imports(graph)
    assert "imports report.page (report)" in sentence


def test_an_import_by_a_lazy_name_counts_as_that_of_its_module(tree):
    graph = tree(
        {
            "operators/__init__.py": "",
            "operators/__init__.pyi": "from .base import Operator as Operator",
            "operators/base.py": "from truehessian.operators import hessian",
            "operators/hessian.py": "from truehessian.operators import Operator",
        }
    )
    assert graph["operators.hessian"] == {"operators.base"}
    assert rooms.cycles(graph) == ["operators.base -> operators.hessian -> operators.base"]


def test_imports_to_the_left_and_within_a_room_are_fine(tree):
    graph = tree(
        {
            "text.py": "",
            "data/examples.py": "from truehessian import text",
            "data/folds.py": "from truehessian.data.examples import Examples\nimport numpy",
        }
    )
    assert graph["data.folds"] == {"data.examples"}
    assert rooms.wrong_imports(graph) == rooms.cycles(graph) == []


def test_a_folder_that_is_no_room_is_found(tree):
    graph = tree({"attic/old.py": "from truehessian.data import files", "data/files.py": ""})
    assert rooms.wrong_imports(graph) == ["attic.old or data.files is in no room"]


def test_lines_of_code_are_without_docstrings_comments_and_blanks(tmp_path):
    body = ['"""Say.', "", "More.", '"""', "# why", "", "y = (x +", "    1)", "return y"]
    text = "\n".join(["def f(x):", *(f"    {line}" for line in body), ""])
    assert [(f.name, count) for f, count in rooms.functions(text)] == [("f", 4)]
    path = tmp_path / "long.py"
    path.write_text("def g():\n" + "    x = 1\n" * 40)
    (sentence,) = rooms.long_functions([path])
    assert "g has 41 lines of code" in sentence
    path.write_text("\n" * 301)
    assert rooms.long_modules([path]) == [f"{path}: 301 lines"]
