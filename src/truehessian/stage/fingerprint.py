"""Fingerprints of code: what a script does, as far as it can be read off its syntax trees.

Snakemake does not see edits in imported modules, and sees a comment in a script as a change. The
fingerprint covers the script and every project module that it reaches by import, with comments,
docstrings and formatting taken away.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "truehessian"
# The code around a stage (logs, locks, the store) moves files and has no part in the numbers.
_NO_PART = f"{PACKAGE}.stage"


def fingerprint(script: Path, source: Path | None = None) -> str:
    """Hash the meaning of a script together with all project code that it reaches.

    Parameters
    ----------
    script
        Path of a Python file; its stem becomes the first part of the result.
    source
        Folder that holds the package; that of this file by default.

    Returns
    -------
    str
        ``stem:hexadecimal digest``, the same on every Python version from 3.11.
    """
    digest = hashlib.sha256(meaning(script).encode())
    for name, path in sorted(closure(script, source or _source()).items()):
        digest.update(f"\n# {name}\n{meaning(path)}".encode())
    return f"{script.stem}:{digest.hexdigest()}"


def module_digests(script: Path, source: Path | None = None) -> dict[str, str]:
    """Digest of each module that a script reaches, to say which of them has changed."""
    modules = {script.stem: script, **closure(script, source or _source())}
    return {
        name: hashlib.sha256(meaning(path).encode()).hexdigest()
        for name, path in sorted(modules.items())
    }


def module_fingerprint(name: str) -> str:
    """Hash the meaning of one importable module, without importing it (but for its parents).

    Raises
    ------
    ModuleNotFoundError
        There is no such module, or it is not a Python file.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ModuleNotFoundError(
            f"no Python file for module {name!r}; put it into the working directory or install it"
        )
    return hashlib.sha256(meaning(Path(spec.origin)).encode()).hexdigest()


def closure(script: Path, source: Path) -> dict[str, Path]:
    """Find all modules of the package that a script imports, directly or not.

    Imports inside functions count; imports by computed names are not seen.
    """
    found: dict[str, Path] = {}
    waiting = list(_read(script).imports)
    while waiting:
        name = waiting.pop()
        path = _path(name, source)
        if name in found or path is None or name == _NO_PART or name.startswith(f"{_NO_PART}."):
            continue
        found[name] = path
        waiting.extend(_read(path).imports)
        if "." in name:  # importing a module runs its parents
            waiting.append(name.rpartition(".")[0])
    return found


def meaning(path: Path) -> str:
    """Source of a file without comments, docstrings and formatting."""
    return _read(path).meaning


class _Reading(NamedTuple):
    """What is wanted of one version of a file."""

    meaning: str
    imports: tuple[str, ...]


def _read(path: Path) -> _Reading:
    return _parse(path, path.stat().st_mtime_ns)


@cache  # most modules are reached by many scripts
def _parse(path: Path, _version: int) -> _Reading:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = tuple(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
            node.body = node.body or [ast.Pass()]
    # The unparsed source is the same on all Python versions, a dump of the tree is not.
    return _Reading(ast.unparse(tree), imports)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path(name: str, source: Path) -> Path | None:
    if name.split(".")[0] != PACKAGE:
        return None
    base = source.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _source() -> Path:
    return Path(__file__).parents[2]
