"""Which code decides a user's own network: every module of theirs, and versions of packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from truehessian.pipeline.stage import installed, own_code

FACTORY = "ownnet.build:make"
FILES = {
    "ownnet/__init__.py": "",
    "ownnet/build.py": (
        "import helper\nfrom . import blocks\nfrom .parts.conv import Conv\n"
        "from .constants import WIDTH\nfrom plain.leaf import LEAF\n"
        "from plain.within.leaf import DEEP\n\n"
        "def make(**arguments):\n    import ownnet.late\n"
        "    from importlib import import_module\n    import_module('named')\n"
        "    import_module('.relative', __package__)\n"
    ),
    "ownnet/blocks.py": "from . import blocks_too\n",
    "ownnet/blocks_too.py": "VALUE = 1\n",
    "ownnet/constants.py": "WIDTH = 4\n",
    "ownnet/late.py": "VALUE = 1\n",
    "ownnet/relative.py": "VALUE = 1\n",
    "ownnet/parts/__init__.py": "VALUE = 1\n",
    "ownnet/parts/conv.py": "from ..starred import *\n\nclass Conv:\n    pass\n",
    "ownnet/starred/__init__.py": "__all__ = ['shown']\n",
    "ownnet/starred/shown.py": "VALUE = 1\n",
    "ownnet/starred/unseen.py": "VALUE = 1\n",
    "ownnet/unreached.py": "VALUE = 1\n",
    "helper.py": "VALUE = 1\n",
    "named.py": "VALUE = 1\n",
    "plain/leaf.py": "LEAF = 1\n",  # a folder without __init__
    "plain/within/leaf.py": "DEEP = 1\n",  # and one in it
    "unreached.py": "VALUE = 1\n",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder on the path with a network in many modules, any of which fails when it is run."""
    for name, text in FILES.items():
        write(tmp_path / "own" / name, f"raise SystemError('imported')\n{text}")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed distributions, before the user's own."""
    folder = tmp_path / "lib/site-packages"
    install(folder, "Own-Layers", "1.0", "ownlayers/__init__.py")
    monkeypatch.syspath_prepend(str(folder))
    installed._claimed.cache_clear()
    yield folder
    installed._claimed.cache_clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def install(
    folder: Path, name: str, version: str, module: str, url: str | None = None, code: str = ""
) -> None:
    """Put a distribution into a folder as an installer does."""
    write(folder / module, code)
    info = folder / f"{name.lower().replace('-', '_')}.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write(info / "RECORD", f"{module},sha256=code{len(code)},1\n{info.name}/RECORD,,\n")
    if url is not None:
        write(info / "direct_url.json", json.dumps({"url": url}))


def code(name: str = FACTORY) -> own_code.Code:
    return own_code.of_paths([name])


def test_every_module_that_is_reached_counts_and_no_other(own):
    names = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in FILES}
    unreached = {"ownnet.unreached", "unreached", "ownnet.starred.unseen"}
    assert set(code().modules) == names - unreached
    assert code().packages == {}


@pytest.mark.parametrize("name", sorted(FILES))
def test_exactly_the_modules_that_are_reached_change_the_code(own, name):
    before = code().summary()
    path = own / name
    path.write_text(f'"""A docstring."""  # a comment\n{path.read_text()}')
    assert code().summary() == before
    path.write_text(f"{path.read_text()}\nCHANGED = 1\n")
    reached = not any(word in name for word in ("unreached", "unseen"))
    assert (code().summary() != before) == reached


def test_a_module_that_appears_where_it_was_missing_counts(own):
    write(own / "helper.py", "try:\n    import fast\nexcept ImportError:\n    fast = None\n")
    before = code()
    write(own / "fast.py", "VALUE = 1\n")
    assert set(code().modules) - set(before.modules) == {"fast"}


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module(f'{__package__}.unreached')\n",
        "for name in NAMES:\n    __import__(name)\n",
        "exec(open('unreached.py').read())\n",
    ],
)
def test_a_name_that_is_computed_counts_the_whole_package(own, text):
    write(own / "ownnet/parts/conv.py", text)
    assert "ownnet.unreached" in code().modules
    assert "unreached" not in code().modules
    write(own / "helper.py", text)
    assert "unreached" in code().modules


def test_names_that_a_package_exports_are_taken_as_all_its_modules_if_they_are_computed(own):
    write(own / "ownnet/starred/__init__.py", "__all__ = [path.stem for path in PATHS]\n")
    assert "ownnet.starred.unseen" in code().modules
    write(own / "ownnet/starred/__init__.py", "")
    assert "ownnet.starred.shown" not in code().modules


def test_what_is_no_source_of_this_python_counts_by_its_bytes(own):
    write(own / "helper.py", "print 'Python 2'\n")
    before = code().modules["helper"]
    write(own / "helper.py", "print 'Python 2' # and a comment\n")
    assert code().modules["helper"] != before


def test_packages_count_by_version_once_and_pytorch_has_its_own_entry(own, site):
    write(own / "helper.py", "import ownlayers\nfrom ownlayers import x\nimport torch, random\n")
    assert code().packages == {"Own-Layers": "1.0"}
    before = code().summary()
    install(site, "Own-Layers", "1.0", "ownlayers/__init__.py", code="VALUE = 2")
    assert code().summary() == before
    install(site, "Own-Layers", "1.1", "ownlayers/__init__.py")
    assert code().packages == {"Own-Layers": "1.1"}
    assert code().summary() != before


def test_a_build_for_another_processor_is_no_other_version(own, site):
    write(own / "helper.py", "import ownlayers\n")
    install(site, "Own-Layers", "1.0+cu128", "ownlayers/__init__.py")
    assert code().packages == {"Own-Layers": "1.0"}
    install(site, "Own-Layers", "1.0+g12ab34c", "ownlayers/__init__.py")
    assert code().packages == {"Own-Layers": "1.0+g12ab34c"}


def test_a_version_that_was_installed_from_a_folder_counts_by_its_files_too(own, site):
    write(own / "helper.py", "import ownlayers\n")
    versions = []
    for text in ("", "", "VALUE = 2"):
        install(site, "Own-Layers", "1.0", "ownlayers/__init__.py", "file:///src", text)
        versions.append(code().packages["Own-Layers"])
    assert versions[0] == versions[1] != versions[2]


def test_of_a_namespace_the_distribution_that_holds_the_module_counts(own, site):
    install(site, "space-one", "1", "ownspace/one.py")
    install(site, "space-two", "2", "ownspace/two.py")
    write(own / "ownspace/mine.py", "VALUE = 1\n")
    write(own / "helper.py", "from ownspace import two, mine\n")
    assert code().packages == {"space-two": "2"}
    assert "ownspace.mine" in code().modules


def test_an_installed_factory_counts_by_its_version_alone(site):
    assert code("ownlayers:make") == own_code.Code({}, {"Own-Layers": "1.0"})


def test_a_module_that_no_distribution_has_installed_counts_by_its_code(own, site):
    write(site / "strewn.py", "VALUE = 1\n")
    write(own / "helper.py", "import strewn\n")
    assert "strewn" in code().modules


def test_our_own_package_counts_by_its_code_wherever_it_is_installed(own):
    write(
        own / "helper.py",
        "from truehessian.networks import vgg\nfrom truehessian.pipeline import stage\n",
    )
    found = {name for name in code().modules if name.startswith("truehessian")}
    assert "truehessian.networks.vgg" in found
    assert not {name for name in found if name.startswith("truehessian.pipeline")}


@pytest.mark.parametrize("name", ["no_such_module:make", "ownnet.missing:make"])
def test_a_module_that_cannot_be_found_is_an_error_with_the_remedy(own, name):
    module = name.removesuffix(":make")
    with pytest.raises(
        ModuleNotFoundError, match=f"there is no module '{module}'; put it into the working"
    ):
        code(name)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ownlayers.py", "import ownlayers\n"),
        ("ownlayers/__init__.py", "from ownlayers import x\n"),
        ("ownlayers/conv.py", "from ownlayers.conv import x\n"),  # in a folder without __init__
        ("ownlayers/conv.py", "from ownlayers import conv\n"),
    ],
)
def test_a_module_that_an_installed_one_hides_is_refused(own, site, path, text):
    write(own / "helper.py", text)
    assert code().packages == {"Own-Layers": "1.0"}
    write(own / path, "VALUE = 1\n")
    with pytest.raises(
        ImportError, match=rf"own/{path} is hidden by .*site-packages/ownlayers/__init__\.py"
    ):
        code()


def test_a_factory_that_the_standard_library_hides_is_refused_and_a_helper_is_not(own, monkeypatch):
    write(own / "queue.py", "VALUE = 1\n")
    write(own / "helper.py", "import queue\n")
    monkeypatch.setattr(sys, "path", [*sys.path[1:], str(own)])
    assert "queue" not in code().modules
    with pytest.raises(ImportError, match=r"own/queue\.py is hidden by the standard library's"):
        code("queue:make")


def test_a_loop_of_imports_ends(own):
    write(own / "helper.py", "import ownnet.build\nimport helper\n")
    assert "helper" in code().modules


PROBE = """
import sys
from pathlib import Path
from truehessian.pipeline.stage import once
once.make_importable(Path(sys.argv[1]), Path(sys.argv[2]))
import os, subprocess
print(subprocess.check_output(
    [sys.executable, "-c", "import queue, platform; print(platform.__file__)"], text=True))
import random, statistics, own_only
print(random.__file__)
"""


def test_files_in_the_working_directory_hide_nothing(tmp_path):
    for name in ("random", "queue", "platform", "statistics"):
        write(tmp_path / f"{name}.py", "raise SystemError('hidden')\n")
    write(tmp_path / "own_only.py", "")
    source = Path(own_code.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, str(source), str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stdout
