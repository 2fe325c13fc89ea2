"""Looking after the store: what is in it, is it whole, make room, what differs."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from truehessian.pipeline.stage import store
from truehessian.pipeline.stage.key import FORM, digest, file_digest
from truehessian.pipeline.stage.store import Entry


class Unfinished(NamedTuple):
    """The resume state that a killed stage has left."""

    key: str
    path: Path
    size: int
    last_used: float


def unfinished() -> list[Unfinished]:
    """Find the resume states in the store, of stages at work at this moment too."""
    found = []
    for folder in (store.root() / "state").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a stage that finishes at this moment
            facts = [path.stat() for path in folder.rglob("*")]
            size = sum(fact.st_size for fact in facts)
            last = max([folder.stat().st_mtime, *(fact.st_mtime for fact in facts)])
            found.append(Unfinished(folder.name, folder, size, last))
    return found


def prune(max_bytes: int) -> list[Entry | Unfinished]:
    """Remove what was used longest ago until the rest fits into `max_bytes`.

    Results and resume states count alike; those of a stage that is at work at this moment stay.

    Returns
    -------
    list of Entry or Unfinished
        What was removed.
    """
    everything: list[Entry | Unfinished] = [*store.entries(), *unfinished()]
    everything.sort(key=lambda item: item.last_used)
    excess = sum(item.size for item in everything) - max_bytes
    removed = []
    for entry in everything:
        if excess <= 0:
            break
        if _remove_unused(entry):
            removed.append(entry)
            excess -= entry.size
    return removed


def of_earlier_versions() -> list[Entry]:
    """Find results whose keys were made in another way, which no stage uses any more."""
    return [entry for entry in store.entries() if entry.manifest["parts"].get("form") != FORM]


def prune_earlier_versions() -> list[Entry]:
    """Remove `of_earlier_versions`, and say what was removed."""
    return [entry for entry in of_earlier_versions() if _remove_unused(entry)]


def verify(*, drop: bool = False) -> list[tuple[Entry, str]]:
    """Compare all stored files with their digests.

    Parameters
    ----------
    drop
        Whether to remove damaged entries.

    Returns
    -------
    list
        Damaged entries, each with what is wrong.
    """
    damaged = []
    for entry in list(store.entries()):
        problem = damage(entry)
        if problem is not None:
            damaged.append((entry, problem))
            if drop:
                _remove(entry)
    return damaged


def damage(entry: Entry) -> str | None:
    """Say what is wrong with an entry, None if it is whole and made of what it says."""
    if digest(entry.manifest["parts"]) != entry.key:
        return "its key is not that of what it says that it was made of"
    for name, item in entry.manifest["outputs"].items():
        path = entry.path / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != item["size"] or file_digest(path) != item["sha256"]:
            return f"{name} has changed since it was stored"
    return None


def difference(parts: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Name what differs between the parts of two keys, in words."""
    labels = {
        "code": "code of {}",
        "own_code": "code of {}",
        "data": "data file {}",
        "packages": "package {}",
        "settings": "setting {}",
        "inputs": "input {}",
        "outputs": "output {}",
        "environment": "environment: {}",
    }
    changes = []
    for section, label in labels.items():
        mine, theirs = _flat(parts.get(section)), _flat(other.get(section))
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                text = label.format(name)
                if section in ("packages", "settings", "environment"):
                    text += f" ({theirs.get(name)} -> {mine.get(name)})"
                changes.append(text)
    return changes


def nearest(parts: dict[str, Any], *, besides: str | None = None) -> tuple[Entry, list[str]] | None:
    """Find the stored result of the same stage that differs least, and in what.

    Only among those whose keys were made in the same way: others cannot be compared.
    """
    candidates = [
        (entry, difference(parts, entry.manifest["parts"]))
        for entry in of_stage(parts["stage"])
        if entry.manifest["parts"].get("form") == parts.get("form") and entry.key != besides
    ]
    return min(candidates, key=lambda candidate: len(candidate[1]), default=None)


def of_stage(name: str) -> Iterator[Entry]:
    """Go through all stored results of a stage."""
    return (entry for entry in store.entries() if entry.manifest["parts"]["stage"] == name)


def made_by(path: Path) -> Entry | None:
    """Find the stored result that a file is an output of, by its content."""
    content = file_digest(path)
    for entry in store.entries():
        if any(item["sha256"] == content for item in entry.manifest["outputs"].values()):
            return entry
    return None


@contextlib.contextmanager
def _unused(entry: Entry | Unfinished) -> Iterator[bool]:
    """Hold an entry's lock for the time of its removal, if nobody else does."""
    lock = filelock.FileLock(store.lock_path(entry.key))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _remove_unused(entry: Entry | Unfinished) -> bool:
    """Remove an entry unless it is in use; whether it was removed."""
    with _unused(entry) as free:
        if free:
            _remove(entry)
        return free


def _remove(entry: Entry | Unfinished) -> None:
    """Take an entry out of sight by one rename before its files go."""
    hidden = entry.path.with_name(f".{entry.key}-removed")
    with contextlib.suppress(FileNotFoundError):
        entry.path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value} if prefix else {}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}.{name}" if prefix else str(name))
    return flat
