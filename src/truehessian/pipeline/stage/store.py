"""A content-addressed store of stage results that outlives the results folder.

An entry is a folder ``objects/<key>`` with the output files and a manifest of their digests. It
appears by one rename, whole or not at all, and is checked when it is used.
"""

import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import platformdirs

from truehessian.pipeline.stage.key import Key, file_digest

logger = logging.getLogger(__name__)

VARIABLE = "TRUEHESSIAN_CACHE"
_MANIFEST = "manifest.json"
_DEEPEST = 40  # levels of settings within settings
_LARGEST_MANIFEST = 2**24  # bytes; a manifest has some kilobytes
ABANDONED = 24 * 3600.0  # seconds without a sign of life; copying an entry takes minutes at most


class Entry(NamedTuple):
    """One stored result."""

    key: str
    path: Path
    manifest: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(item["size"] for item in self.manifest["outputs"].values())

    @property
    def last_used(self) -> float:
        """When it was made or restored last, in seconds since the epoch."""
        return (self.path / _MANIFEST).stat().st_mtime


def root() -> Path:
    """Folder of the store: ``TRUEHESSIAN_CACHE`` if set, else in the user's cache folder."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("truehessian"))


def save(key: Key, outputs: dict[str, Path]) -> None:
    """Put finished output files under a key, unless they are there already.

    Raises
    ------
    OSError
        The store cannot be written to; nothing half-written stays.
    """
    target = _folder(key.digest)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_drafts(target.parent, f".{target.name}-*")
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        items = {}
        for name, path in outputs.items():
            shutil.copyfile(path, draft / name)
            items[name] = {"sha256": file_digest(draft / name), "size": path.stat().st_size}
        manifest = {"key": key.digest, "parts": key.parts, "outputs": items}
        (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        _rename_unless_there(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def restore(key: Key, outputs: dict[str, Path]) -> bool:
    """Copy the files stored under a key to where they are wanted.

    A damaged entry is reported, removed and counts as missing; so does one that cannot be read.

    Returns
    -------
    bool
        Whether all outputs have been restored. If not, none has.

    Raises
    ------
    OSError
        The outputs cannot be written.
    """
    folder = _folder(key.digest)
    if not folder.exists():
        return False
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name, path in outputs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, path)
            if file_digest(path) != manifest["outputs"][name]["sha256"]:
                raise ValueError(f"{name} has changed since it was stored")
        with contextlib.suppress(OSError):  # a store that can only be read serves as well
            os.utime(folder / _MANIFEST)
    except OSError as error:
        if not concerns(error, folder):
            raise
        _drop(folder, outputs, f"{Path(error.filename).name}: {error.strerror}")
        return False
    except (ValueError, KeyError, TypeError) as error:
        _drop(folder, outputs, str(error))
        return False
    return True


def entries() -> Iterator[Entry]:
    """Go through all whole entries."""
    for path in sorted((root() / "objects").glob("*/*")):
        entry = None if path.name.startswith(".") else read_entry(path)
        if entry is not None:
            yield entry


def read_entry(folder: Path) -> Entry | None:
    """Read the entry in a folder; None where its manifest is missing or damaged."""
    try:
        if (folder / _MANIFEST).stat().st_size > _LARGEST_MANIFEST:
            return None
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = _is_manifest(manifest) and manifest["key"] == folder.name
    return Entry(folder.name, folder, manifest) if whole else None


def holds(digest: str) -> bool:
    """Whether there is an entry under a key, whole or not."""
    return _folder(digest).exists()


def files_of(entry: Entry) -> set[str]:
    """Names of the files that belong to an entry."""
    return {_MANIFEST, *entry.manifest["outputs"]}


def is_output_name(name: str, *, manifest: bool = False) -> bool:
    """Whether a file of an entry may be called so; the manifest too, if asked for."""
    return (
        name[:1] not in ("", ".")
        and not {"/", "\\", "\0"} & set(name)
        and (manifest or name != _MANIFEST)
    )


def adopt(entry: Entry) -> bool:
    """Move an entry that lies on the same file system into the store, unless it is there."""
    target = _folder(entry.key)
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    _rename_unless_there(entry.path, target)
    return True


def state_folder(key: Key) -> Path:
    """Folder for the resume state of the stage with this key; not made here."""
    return root() / "state" / key.digest


def lock_path(digest: str) -> Path:
    """File that a process locks while it works on a key."""
    return root() / "locks" / f"{digest}.lock"


def concerns(error: OSError, folder: Path) -> bool:
    """Whether an error is about a file in a folder, and not about where that was to be copied."""
    named, copied = error.filename, error.filename2
    return isinstance(named, str) and copied is None and Path(named).is_relative_to(folder)


@contextlib.contextmanager
def exclusive(key: Key) -> Iterator[bool]:
    """Hold the only right to work on a key; a second process waits.

    The lock is the operating system's and goes with the process, however it dies.

    Yields
    ------
    bool
        Whether the store can be written to. If not, that is reported, and nothing is locked.
    """
    path = lock_path(key.digest)
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("another process works on the same stage (%s); waiting for it", path)
        lock.acquire()
    except OSError as error:
        logger.warning(
            "the store %s cannot be written to (%s), so this result is not kept for later; "
            "make room there or set %s to another folder",
            root(),
            error.strerror or error,
            VARIABLE,
        )
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _is_manifest(manifest: Any) -> bool:
    """Whether what was read has the form of a manifest, whatever it says."""
    if not isinstance(manifest, dict) or set(manifest) != {"key", "parts", "outputs"}:
        return False
    parts, outputs = manifest["parts"], manifest["outputs"]
    return (
        isinstance(parts, dict)
        and isinstance(parts.get("stage"), str)
        and _is_flat(parts, _DEEPEST)
        and isinstance(outputs, dict)
        and all(is_output_name(name) for name in outputs)
        and all(
            isinstance(item, dict)
            and isinstance(item.get("sha256"), str)
            and type(item.get("size")) is int
            and item["size"] >= 0
            for item in outputs.values()
        )
    )


def _is_flat(value: Any, levels: int) -> bool:
    """Whether nothing is nested deeper than some levels."""
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_flat(item, levels - 1) for item in items)


def _folder(digest: str) -> Path:
    return root() / "objects" / digest[:2] / digest


def _rename_unless_there(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        # Another process was first with the same key; the contents are the same.
        if not target.exists():
            raise


def clear_drafts(folder: Path, pattern: str) -> None:
    """Remove the folders in a folder that killed processes have left."""
    for draft in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > ABANDONED:
                shutil.rmtree(draft, ignore_errors=True)


def _drop(folder: Path, outputs: dict[str, Path], reason: str) -> None:
    logger.warning("stored result %s is damaged (%s); it is removed", folder, reason)
    shutil.rmtree(folder, ignore_errors=True)
    for path in outputs.values():
        path.unlink(missing_ok=True)
