"""The code of a user's own that a stage uses: modules of the user's own, and packages.

A module of the user's own counts by its meaning, and so does every other one that it reaches by
import, directly or not. What comes from an installed distribution counts by name and version, the
standard library not at all. Nothing is imported to find out.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple

from truehessian.pipeline.stage import installed, modules, reading as readings
from truehessian.pipeline.stage.reading import Import, Reading, read

# What keys have an entry for already.
_COUNTED = frozenset({"torch"})


class Code(NamedTuple):
    """What decides a network, or whatever else is the user's own, beside its arguments.

    Attributes
    ----------
    modules
        Digest of the meaning of each module of the user's own, by its dotted name.
    packages
        Version of each installed distribution that these modules import, by its name.
    """

    modules: dict[str, str]
    packages: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Sum it up: one digest of all modules, and the versions."""
        modules = json.dumps(self.modules, sort_keys=True)
        return {
            "modules": hashlib.sha256(modules.encode()).hexdigest(),
            "packages": dict(sorted(self.packages.items())),
        }


def of_paths(paths: Iterable[str]) -> Code:
    """Find the code behind import paths, such as that of a network.

    Imports inside functions count, and so do relative ones, packages that are gone through on the
    way, and ``import_module`` with a name that is written out. Where a module imports or runs
    something by a name that it works out, all modules of its package count (outside a package, all
    that lie beside it). Data files are not seen.

    Parameters
    ----------
    paths
        ``package.module:name`` each.

    Raises
    ------
    ModuleNotFoundError
        There is no such module.
    ImportError
        A module of the user's own is hidden by an installed one of the same name.
    """
    importlib.invalidate_caches()
    walk = _Walk()
    for path in paths:
        module, _, name = path.partition(":")
        _check_not_hidden(module)
        found = [module]
        if modules.is_ours(module):
            found = [*modules.meant_by(Import(0, module, (name,)), "", modules.source())]
        if not found or not all(map(walk.visit, found)):
            raise ModuleNotFoundError(
                f"there is no module {module!r}; put it into the working directory, put its folder "
                "on PYTHONPATH, or install it"
            )
    walk.finish()
    readings.keep()
    return Code(dict(sorted(walk.modules.items())), dict(sorted(walk.packages.items())))


class _Walk:
    """A way through everything that is reached by import."""

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        self.packages: dict[str, str] = {}
        self._waiting: list[str] = []
        self._seen: dict[str, bool] = {}

    def finish(self) -> None:
        """Visit everything that is reached from what has been visited."""
        while self._waiting:
            self.visit(self._waiting.pop())

    def visit(self, name: str) -> bool:
        """Take in a module, and the packages on the way to it; whether there is one."""
        if name not in self._seen:
            self._seen[name] = self._visit(name)
        return self._seen[name]

    def _visit(self, name: str) -> bool:
        if modules.is_ours(name):
            return self._visit_ours(name)
        folders: list[str] | None = None
        for prefix in _prefixes(name):
            spec = _find(prefix, folders)
            if spec is None:
                return False
            if spec.origin is not None and not self._take(prefix, spec, name):
                return True
            if spec.submodule_search_locations is None:
                return prefix == name
            folders = list(spec.submodule_search_locations)
        return True

    def _visit_ours(self, name: str) -> bool:
        path = modules.file_of(name, modules.source())
        if path is not None and modules.has_a_part(name):
            self._read(name, path, package=False)
        return path is not None

    def _take(self, name: str, spec: ModuleSpec, wanted: str) -> bool:
        """Take in one module on the way to a wanted one; whether it is the user's own."""
        origin = str(spec.origin)
        if name in self.modules:
            return True
        distributions = installed.distributions(name, origin)
        if distributions or installed.is_standard(origin):
            if distributions:  # a file by the name of a standard module may have no part in this
                _check_not_hidden(wanted)
            self.packages |= {key: v for key, v in distributions.items() if key not in _COUNTED}
            return False
        package = spec.submodule_search_locations is not None
        self._read(name, Path(origin), package=package)
        return True

    def _read(self, name: str, path: Path, *, package: bool) -> None:
        """Take in a file of the user's own, and remember what it imports."""
        reading = _reading(path)
        if reading is None:
            self.modules[name] = hashlib.sha256(_bytes(path)).hexdigest()
            return
        self.modules[name] = reading.effect if modules.is_ours(name) else reading.meaning
        parent = name if package else name.rpartition(".")[0]
        for item in reading.imports:
            if modules.is_ours(item.absolute(parent)):
                self._waiting.extend(modules.meant_by(item, parent, modules.source()))
                continue
            self._waiting.extend(item.candidates(parent))
            if "*" in item.names:
                self._waiting.extend(_exported(item.absolute(parent)))
        if reading.computed and not modules.is_ours(name):
            self._waiting.extend(_relatives(name, path, package=package))


def _prefixes(name: str) -> Iterator[str]:
    """List ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``: importing a module runs its parents."""
    parts = name.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _find(name: str, folders: list[str] | None) -> ModuleSpec | None:
    """Ask Python where a module is, without importing its parents."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)  # which very old ones do not have
        try:
            spec: ModuleSpec | None = None if find is None else find(name, folders, None)
        except KeyError:  # folders without __init__ in such folders want their parents imported
            return _namespace(name, folders or [])
        if spec is not None:
            return spec
    return None


def _namespace(name: str, folders: list[str]) -> ModuleSpec:
    """Make what Python finds where a package is nothing but folders."""
    spec = ModuleSpec(name, None, is_package=True)
    inner = [Path(folder) / name.rpartition(".")[2] for folder in folders]
    spec.submodule_search_locations = [str(folder) for folder in inner if folder.is_dir()]
    return spec


def _reading(path: Path) -> Reading | None:
    """Read a file; None for what is not source of this Python, such as an extension module."""
    if path.suffix != ".py" or not path.is_file():
        return None
    try:
        return read(path)
    except (SyntaxError, ValueError):
        return None


def _bytes(path: Path) -> bytes:
    """Contents of a file, or of the archive that it lies in."""
    return next(parent for parent in (path, *path.parents) if parent.is_file()).read_bytes()


def _exported(package: str) -> Iterator[str]:
    """Modules that ``from package import *`` may import: those in ``__all__``."""
    folder = _folder(package)
    reading = None if folder is None else _reading(folder / "__init__.py")
    if folder is None or reading is None:
        return
    exports = reading.exports
    if exports is None:
        exports = tuple(path.stem for path in folder.glob("*.py"))
    yield from (f"{package}.{name}" for name in exports if name != "__init__")


def _folder(package: str) -> Path | None:
    folders: list[str] | None = None
    spec = None
    for prefix in _prefixes(package) if package else ():
        spec = _find(prefix, folders)
        if spec is None or spec.submodule_search_locations is None:
            return None
        folders = list(spec.submodule_search_locations)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _relatives(name: str, path: Path, *, package: bool) -> Iterator[str]:
    """All modules of the package that a module belongs to, else those that lie beside it."""
    top, *rest = name.split(".")
    if not rest and not package:
        for beside in path.parent.glob("*.py"):
            spec = _find(beside.stem, None)
            if spec is not None and spec.origin == str(beside):  # and not another of its name
                yield beside.stem
        return
    folder = path.parents[len(rest) - (not package)]
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder).with_suffix("").parts
        yield ".".join([top, *(part for part in parts if part != "__init__")])


def _check_not_hidden(name: str) -> None:
    """Refuse a module of the user's own where Python finds another one of its name before it."""
    top = name.split(".")[0]
    spec = _find(top, None)
    if spec is None or spec.origin is None:
        return
    standard = installed.is_standard(spec.origin)
    if not standard and not installed.is_installed(Path(spec.origin)):
        return
    for folder in map(Path, sys.path):
        if installed.is_standard(str(folder)) or installed.is_installed(folder):
            continue
        for base in (folder / top, folder.joinpath(*name.split("."))):
            for own in (base.with_suffix(".py"), base / "__init__.py"):
                if own.is_file():
                    first = f"the standard library's {top}" if standard else spec.origin
                    raise ImportError(
                        f"{own.absolute()} is hidden by {first}, which Python finds first; give "
                        "your module another name"
                    )
