"""What takes long to find out and is remembered from one start of the workflow to the next.

Each fact stands under everything that decides it, so that nothing that has become wrong is ever
found. It lies beside the results in the store and, as they do, outlives the folder of the run.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from truehessian.pipeline.stage import store

VARIABLE = "TRUEHESSIAN_MEMORY"
_KEPT = 60 * 24 * 3600.0  # seconds; what is still true then is found out once more


def remembered(decided_by: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """Find something out once.

    Parameters
    ----------
    decided_by
        Everything that decides it, in values that JSON can hold.
    make
        Finds it out, as a value of JSON; what it raises is not remembered.
    """
    found = recall(decided_by)
    if found is None:
        found = make()
        remember(decided_by, found)
    return found


def recall(decided_by: Mapping[str, Any]) -> Any:
    """Give what is remembered under this; None for nothing, and for what has been damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(_file(decided_by).read_bytes())
        if content["sha256"] == _digest([content["decided_by"], content["value"]]):
            return content["value"]
    return None


def remember(decided_by: Mapping[str, Any], value: Any) -> None:
    """Write a value down; where that cannot be, it will be found out again."""
    file = _file(decided_by)
    draft = file.with_name(f".{uuid.uuid4().hex}")
    content = {"decided_by": decided_by, "value": value, "sha256": _digest([decided_by, value])}
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        _forget_the_old(file.parent)
        draft.write_text(json.dumps(content))
        draft.replace(file)


def state_of(path: Path, most: int | None = None) -> str | None:
    """Digest sizes, times and places of a file, or of all files in a folder; contents are not read.

    The time of the last change of whatever kind is among them, which no copy can carry over.

    Parameters
    ----------
    path
        Need not be there: None then.
    most
        Of a folder with more files the state is another one each time.
    """
    try:
        files = [path, *islice(path.rglob("*"), most)] if path.is_dir() else [path]
        facts = [(str(each), each.stat()) for each in sorted(files)]
    except (OSError, ValueError):
        return None
    if most is not None and len(files) > most:
        return f"{len(files)} at {time.time_ns()}"
    return _digest(
        [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev] for name, s in facts]
    )


def _file(decided_by: Mapping[str, Any]) -> Path:
    folder = os.environ.get(VARIABLE)
    return Path(folder or store.root() / "memory") / f"{_digest(decided_by)}.json"


def _forget_the_old(folder: Path) -> None:
    begin = time.time() - _KEPT
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # others forget at the same time
            if file.stat().st_mtime < begin:
                file.unlink()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
