"""Fingerprints of code: what a script does, as far as it can be read off its syntax trees.

Snakemake does not see edits in imported modules, and sees a comment in a script as a change. The
fingerprint covers the script and every project module that it reaches by import, with comments,
docstrings, formatting, log lines and the words of errors taken away.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from truehessian.pipeline.stage import modules
from truehessian.pipeline.stage.modules import PACKAGE
from truehessian.pipeline.stage.reading import effect, read

# How numbers are worded counts for what is written for readers, and nowhere else.
_WORDS = frozenset({f"{PACKAGE}.text", f"{PACKAGE}.display"})
_READERS = f"{PACKAGE}.report"


def fingerprint(script: Path, uses: Iterable[str] = (), source: Path | None = None) -> str:
    """Hash the meaning of a script together with all project code that it reaches.

    Parameters
    ----------
    script
        Path of a Python file; its stem becomes the first part of the result.
    uses
        Import paths ``package.module:name`` of what the script takes from catalogues. Those that
        lie outside the project have no part in it.
    source
        Folder that holds the package; that of this file by default.

    Returns
    -------
    str
        ``stem:hexadecimal digest``, the same on every Python version from 3.11.
    """
    digest = hashlib.sha256(effect(script).encode())
    for name, path in sorted(closure(script, uses, source).items()):
        digest.update(f"\n# {name}\n{effect(path)}".encode())
    return f"{script.stem}:{digest.hexdigest()}"


def module_digests(
    script: Path, uses: Iterable[str] = (), source: Path | None = None
) -> dict[str, str]:
    """Digest of each module that a script reaches, to say which of them has changed."""
    found = {script.stem: script, **closure(script, uses, source)}
    return {
        name: hashlib.sha256(effect(path).encode()).hexdigest()
        for name, path in sorted(found.items())
    }


def closure(script: Path, uses: Iterable[str] = (), source: Path | None = None) -> dict[str, Path]:
    """Find all modules of the package that have a part in what a script does.

    Imports inside functions count; imports by computed names are not seen: they are those of
    catalogues, whose entries are in `uses`. Packages themselves have no part, see `modules`.

    Returns
    -------
    dict
        Files by dotted name.
    """
    folder = source or modules.source()
    found: dict[str, Path] = {}
    waiting = [path.partition(":")[0] for path in uses]
    waiting += _reached(script, script.stem, folder)
    while waiting:
        name = waiting.pop()
        path = modules.file_of(name, folder) if modules.has_a_part(name) else None
        if path is None or name in found:
            continue
        found[name] = path
        waiting += _reached(path, name, folder)
    return found


def reaches(
    script: Path, package: str, uses: Iterable[str] = (), source: Path | None = None
) -> bool:
    """Whether a script, or a module of the package that it reaches, imports another package."""
    paths = [script, *closure(script, uses, source).values()]
    names = (name for path in paths for item in read(path).imports for name in item.candidates(""))
    return any(name.split(".")[0] == package for name in names)


def _reached(path: Path, name: str, folder: Path) -> Iterator[str]:
    """Modules that one file imports; the package itself has no relative imports."""
    reader = not modules.is_ours(name) or modules.is_within(name, _READERS)
    for item in read(path).imports:
        for found in modules.meant_by(item, "", folder):
            if found not in _WORDS or reader:
                yield found
