"""Fingerprints of code: what a script does, as far as it can be read off its syntax trees.

Snakemake does not see edits in imported modules, and sees a comment in a script as a change. The
fingerprint covers the script and every project module that it reaches by import, with comments,
docstrings and formatting taken away.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from truehessian.pipeline.stage.reading import read

PACKAGE = "truehessian"
# The code around a stage (logs, locks, the store) moves files and has no part in the numbers.
_NO_PART = f"{PACKAGE}.pipeline"


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


def closure(script: Path, source: Path) -> dict[str, Path]:
    """Find all modules of the package that a script imports, directly or not.

    Imports inside functions count; imports by computed names are not seen.
    """
    found: dict[str, Path] = {}
    waiting = list(_imported(script))
    while waiting:
        name = waiting.pop()
        path = module_path(name, source)
        if name in found or path is None:
            continue
        found[name] = path
        waiting.extend(_imported(path))
        if "." in name:  # importing a module runs its parents
            waiting.append(name.rpartition(".")[0])
    return found


def meaning(path: Path) -> str:
    """Source of a file without comments, docstrings and formatting."""
    return read(path).meaning


def reaches(script: Path, package: str, source: Path | None = None) -> bool:
    """Whether a script, or a module of the package that it reaches, imports another package."""
    paths = [script, *closure(script, source or _source()).values()]
    return any(name.split(".")[0] == package for path in paths for name in _imported(path))


def module_path(name: str, source: Path | None = None) -> Path | None:
    """File of a module of the package that has a part in the numbers, None for any other name."""
    if name.split(".")[0] != PACKAGE or name == _NO_PART or name.startswith(f"{_NO_PART}."):
        return None
    base = (source or _source()).joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imported(path: Path) -> Iterator[str]:
    """Names of what a file imports; the package itself has no relative imports."""
    return (name for item in read(path).imports for name in item.candidates(""))


def _source() -> Path:
    return Path(__file__).parents[3]
