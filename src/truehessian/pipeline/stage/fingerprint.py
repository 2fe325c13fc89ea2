"""Fingerprints of code: what a script does, as far as it can be read off its syntax trees.

Snakemake does not see edits in imported modules, and sees a comment in a script as a change. The
fingerprint covers the script and every project module that it reaches by import, with comments,
docstrings, formatting, log lines and the words of errors taken away.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from truehessian.pipeline.stage import modules, reading
from truehessian.pipeline.stage.modules import PACKAGE
from truehessian.pipeline.stage.reading import read

# How numbers are worded counts for what is written for readers, and nowhere else.
_WORDS = frozenset({f"{PACKAGE}.text", f"{PACKAGE}.display"})
_READERS = f"{PACKAGE}.report"


class Tree:
    """The project's code as it is at one moment: no file is looked at again.

    Parameters
    ----------
    source
        Folder that holds the package; that of this file by default.
    """

    def __init__(self, source: Path | None = None) -> None:
        self._folder = source or modules.source()
        self._reached = cache(lambda path, name: tuple(_reached(path, name, self._folder)))
        self._found = cache(self._find)

    def fingerprint(self, script: Path, uses: Iterable[str] = ()) -> str:
        """Hash the meaning of a script together with all project code that it reaches.

        Parameters
        ----------
        script
            Path of a Python file; its stem becomes the first part of the result.
        uses
            Import paths ``package.module:name`` of what the script takes from catalogues. Those
            that lie outside the project have no part in it.

        Returns
        -------
        str
            ``stem:hexadecimal digest``, the same on every Python version from 3.11.
        """
        lines = (f"{name} {digest}" for name, digest in self.module_digests(script, uses).items())
        return f"{script.stem}:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"

    def module_digests(self, script: Path, uses: Iterable[str] = ()) -> dict[str, str]:
        """Digest of each module that a script reaches, to say which of them has changed."""
        found = {script.stem: script, **self.closure(script, uses)}
        digests = {name: read(path).effect for name, path in sorted(found.items())}
        reading.keep()
        return digests

    def closure(self, script: Path, uses: Iterable[str] = ()) -> dict[str, Path]:
        """Find all modules of the package that have a part in what a script does.

        Imports inside functions count; imports by computed names are not seen: they are those of
        catalogues, whose entries are in `uses`. Packages themselves have no part, see `modules`.

        Returns
        -------
        dict
            Files by dotted name.
        """
        found: dict[str, Path] = {}
        waiting = [path.partition(":")[0] for path in uses]
        waiting += self._reached(script, script.stem)
        while waiting:
            name = waiting.pop()
            path = None if name in found else self._found(name)
            if path is not None:
                found[name] = path
                waiting += self._reached(path, name)
        return found

    def imports(self, script: Path, uses: Iterable[str] = ()) -> set[str]:
        """Find what a script, or a module of ours that it reaches, imports of other packages.

        Dotted names: those of modules, and of what is taken from them, which may be modules.
        """
        paths = [script, *self.closure(script, uses).values()]
        found = {n for path in paths for item in read(path).imports for n in item.candidates("")}
        others = {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {PACKAGE}
        return {name for name in found if name.partition(".")[0] in others}

    def _find(self, name: str) -> Path | None:
        return modules.file_of(name, self._folder) if modules.has_a_part(name) else None


def fingerprint(script: Path, uses: Iterable[str] = (), source: Path | None = None) -> str:
    """`Tree.fingerprint` of the code as it is now."""
    return Tree(source).fingerprint(script, uses)


def module_digests(
    script: Path, uses: Iterable[str] = (), source: Path | None = None
) -> dict[str, str]:
    """`Tree.module_digests` of the code as it is now."""
    return Tree(source).module_digests(script, uses)


def closure(script: Path, uses: Iterable[str] = (), source: Path | None = None) -> dict[str, Path]:
    """`Tree.closure` of the code as it is now."""
    return Tree(source).closure(script, uses)


def imports(script: Path, uses: Iterable[str] = (), source: Path | None = None) -> set[str]:
    """`Tree.imports` of the code as it is now."""
    return Tree(source).imports(script, uses)


def _reached(path: Path, name: str, folder: Path) -> Iterator[str]:
    """Modules that one file imports; the package itself has no relative imports."""
    reader = not modules.is_ours(name) or modules.is_within(name, _READERS)
    for item in read(path).imports:
        for found in modules.meant_by(item, "", folder):
            if found not in _WORDS or reader:
                yield found
