"""Carry results from one store to another in a tar file.

An archive may come from anywhere: nothing in it is believed that cannot be recomputed, nothing is
written but plain files in a folder of our own, and an entry is taken over whole or not at all.
"""

import contextlib
import lzma
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from truehessian.pipeline.stage import store
from truehessian.pipeline.stage.maintenance import damage

_KEY = re.compile(r"[0-9a-f]{64}")
_DRAFT = ".import-"
_UNREADABLE = (tarfile.TarError, EOFError, ValueError, OverflowError, lzma.LZMAError)


class Imported(NamedTuple):
    """What became of the entries of an archive.

    Attributes
    ----------
    taken
        Number of entries that are new here.
    refused
        A sentence for each thing that was not taken over because something is wrong with it.
    """

    taken: int
    refused: list[str]


def export(archive: Path) -> int:
    """Write all whole entries into one tar file, to be imported into another store.

    Returns
    -------
    int
        Number of entries written.
    """
    count = 0
    draft = archive.with_name(f".{archive.name}.part")
    try:
        with tarfile.open(draft, "w") as file:
            for entry in store.entries():
                if damage(entry) is None:
                    file.add(entry.path, arcname=entry.key)
                    count += 1
        draft.replace(archive)
    finally:
        draft.unlink(missing_ok=True)
    return count


def import_archive(archive: Path) -> Imported:
    """Take over the entries of a tar file that `export` has written; all else in it is refused.

    Raises
    ------
    ValueError
        The file is no whole tar file, holds no results, or more than the disk has room for. Then
        nothing is taken over.
    OSError
        The archive cannot be read, or the store cannot be written to.
    """
    root = store.root()
    root.mkdir(parents=True, exist_ok=True)
    store.clear_drafts(root, f"{_DRAFT}*")
    taken, refused = 0, []
    with (
        tempfile.TemporaryDirectory(dir=root, prefix=_DRAFT) as folder,
        _opened(archive) as file,
    ):
        groups = _grouped(file)
        _check_size(file, archive, root)
        for name, members in groups.items():
            problem = _problem(name, members)
            if problem is None and not store.holds(name):
                entry, problem = _unpacked(file, members, Path(folder) / name)
                taken += entry is not None and store.adopt(entry)
            if problem is not None:
                refused.append(f"{_short(name)} is refused: {problem}")
    if not any(_KEY.fullmatch(name) for name in groups):
        raise ValueError(f"{archive} holds no results of truehessian")
    return Imported(taken, refused)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file; whatever shows that it is none, or not whole, is one error."""
    try:
        with tarfile.open(archive) as file:
            yield file
    except _UNREADABLE as error:
        raise ValueError(f"{archive} is not a whole archive; export again") from error


def _grouped(file: tarfile.TarFile) -> dict[str, list[tarfile.TarInfo]]:
    """Members by the first part of their names, which is a key where all is well."""
    stream = file.fileobj
    assert stream is not None
    groups: dict[str, list[tarfile.TarInfo]] = {}
    try:
        for member in file.getmembers():
            path = PurePosixPath(member.name)
            if path.parts:  # not the folder itself, if somebody has packed it anew
                groups.setdefault(path.parts[0], []).append(member)
        stream.seek(file.offset)
        end = stream.read(tarfile.BLOCKSIZE)
    except OSError as error:  # a member that says that it ends where no file can
        raise tarfile.ReadError(str(error)) from error
    # Python takes a damaged header for the end of an archive, and a missing end for one too.
    if end != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the end is missing")
    return groups


def _check_size(file: tarfile.TarFile, archive: Path, root: Path) -> None:
    size = sum(member.size for member in file.getmembers())
    free = shutil.disk_usage(root).free
    if size > free:
        raise OSError(f"{archive} holds {size:,} bytes, but only {free:,} are free in {root}")


def _problem(name: str, members: list[tarfile.TarInfo]) -> str | None:
    """Say what is wrong with an entry before any of it is unpacked, None if nothing is."""
    if not _KEY.fullmatch(name):
        return "its name is not the key of a result"
    seen = set()
    for member in members:
        parts = PurePosixPath(member.name).parts
        if member.isdir() and len(parts) == 1:
            continue
        if not member.isreg() or member.issparse():
            return f"{_short(member.name)} is not a plain file"
        if len(parts) != 2 or not store.is_output_name(parts[1], manifest=True):
            return f"{_short(member.name)} does not lie where the files of a result do"
        if parts[1] in seen:
            return f"{_short(member.name)} is there twice"
        seen.add(parts[1])
    return None


def _unpacked(
    file: tarfile.TarFile, members: list[tarfile.TarInfo], folder: Path
) -> tuple[store.Entry | None, str | None]:
    """Unpack an entry; it, or what is wrong with it."""
    folder.mkdir()
    names = set()
    for member in members:
        source = file.extractfile(member)
        if source is not None:  # of the folder itself
            names.add(PurePosixPath(member.name).name)
            with source, (folder / PurePosixPath(member.name).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    entry = store.read_entry(folder)
    if entry is None:
        return None, "its manifest is missing or damaged"
    more = names - store.files_of(entry)
    problem = f"{min(more)} is not in its manifest" if more else damage(entry)
    return (entry, None) if problem is None else (None, problem)


def _short(name: str) -> str:
    """Quote a name that may hold anything."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
