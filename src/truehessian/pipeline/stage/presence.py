"""Which runs are at work in a folder, so that the lock of a dead Snakemake stops nobody.

Snakemake's own lock is a file, which stays behind when Snakemake is killed. Beside it each run
holds one of the operating system's, shared with others, which goes with its process: who can have
it alone knows that all earlier runs are dead. Their jobs may live on, and must not put outputs into
a folder where a new run has begun. Such a succession of runs without a gap is a generation.
"""

import contextlib
import errno
import json
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

VARIABLE = "TRUEHESSIAN_GENERATION"
_FILE = "truehessian.lock"
_TRIES, _PAUSE = 5, 0.1  # a job holds the lock too, for the instant in which its outputs appear
_PROBE = 2**20  # bytes; with less, no run comes far
_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, your quota is used up",
    errno.EROFS: "make it writable",
    errno.EACCES: "get the permission to write",
}
_held: list[IO[str]] = []  # until the process ends


def begin(folder: Path) -> str:
    """Join the runs in a folder; if none is alive, begin a generation and remove their locks.

    Locks of a run on another host are left alone: not all file systems show theirs everywhere.
    Where nothing can be locked, Snakemake's own lock has to do.

    Parameters
    ----------
    folder
        Where Snakemake keeps its metadata.

    Returns
    -------
    str
        What jobs need for `publishing`; they find it in the environment, under `VARIABLE`. Empty
        where nothing can be locked.
    """
    membership = ""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        folder.mkdir(exist_ok=True)
        file = (folder / _FILE).open("a+")
        _held.append(file)
        if not _alone(file):
            print(
                "another snakemake is at work in this folder: this one is refused what both would "
                "make; do not use --unlock, start it again later",
                file=sys.stderr,
            )
        else:
            _succeed(file, folder / "locks")
        fcntl.flock(file, fcntl.LOCK_SH)
        generation = _read(file)["generation"]
        membership = f"{generation}:{folder.absolute()}" if generation else ""
    return membership


def check_writable(folders: Iterable[Path]) -> None:
    """Try to write into the folders that exist.

    Raises
    ------
    SystemExit
        One cannot be written to; with a sentence, where Snakemake would print a traceback.
    """
    for folder in folders:
        try:
            if folder.exists():
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(bytes(_PROBE))
        except OSError as error:
            reason = f"{folder.absolute()} cannot be written to: {error.strerror}"
            raise SystemExit(reason + remedy(error)) from None


def remedy(error: OSError) -> str:
    """Say what to do about a disk, as the end of a sentence; empty where that is not known."""
    known = _REMEDIES.get(error.errno or 0)
    return f"; {known}, then start snakemake again" if known else ""


@contextlib.contextmanager
def publishing(membership: str | None) -> Iterator[None]:
    """Let no generation begin while a job's outputs appear.

    Parameters
    ----------
    membership
        What `begin` gave to the job's run; without it, nobody is asked.

    Raises
    ------
    RuntimeError
        One has begun since the job's run was killed.
    """
    mine, _, folder = (membership or "").partition(":")
    with contextlib.ExitStack() as stack:
        if mine:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                file = stack.enter_context((Path(folder) / _FILE).open())
                fcntl.flock(file, fcntl.LOCK_SH)
                if _read(file)["generation"] not in ("", mine):
                    raise RuntimeError(
                        "the snakemake of this job was killed and another one has begun, so the "
                        "outputs are left to that"
                    )
        yield


def _alone(file: IO[str]) -> bool:
    """Try to have the lock alone."""
    import fcntl

    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _succeed(file: IO[str], locks: Path) -> None:
    """Begin a generation where all earlier runs are dead."""
    host, left = _read(file)["host"], list(locks.glob("*.lock"))
    if left and host != socket.gethostname():
        if host:
            print(
                f"a snakemake on {host} has left its lock here; if it is dead, start this one on "
                f"{host} or use --unlock",
                file=sys.stderr,
            )
        return
    for path in left:
        path.unlink(missing_ok=True)
    if left:
        print("the snakemake before was killed; going on from what it has left", file=sys.stderr)
    file.truncate(0)
    json.dump({"generation": uuid.uuid4().hex, "host": socket.gethostname()}, file)
    file.flush()


def _read(file: IO[str]) -> dict[str, str]:
    file.seek(0)
    try:
        content = json.load(file)
        return {"generation": str(content["generation"]), "host": str(content["host"])}
    except (ValueError, KeyError, TypeError):
        return {"generation": "", "host": ""}
