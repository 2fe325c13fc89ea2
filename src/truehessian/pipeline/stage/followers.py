"""Further processes of a stage, which share its products and write nothing.

Each runs the stage's script as the first process does, with outputs that are thrown away, so that
all meet at every product that they share; see `operators.ranks`.
"""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from truehessian.pipeline.stage.job import Job

logger = logging.getLogger(__name__)

_LAST = 60.0  # seconds that others may take to end after the first one


@contextlib.contextmanager
def beside(job: Job, state: Path) -> Iterator[None]:
    """Start the other processes of a stage, if it has any; they end with the block.

    Parameters
    ----------
    job
        Of the first process, which this is.
    state
        Folder of the resume state, which all of them read.
    """
    if job.processes == 1:
        yield
        return
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    group = address | {"WORLD_SIZE": str(job.processes)}
    logger.info("with %d other processes", job.processes - 1)
    others = [_start(job, state, group | {"RANK": str(n)}) for n in range(1, job.processes)]
    try:
        with _environment(group | {"RANK": "0"}):
            yield
    except BaseException:
        for process in others:
            process.kill()
        raise
    finally:
        _end(others)


def _start(job: Job, state: Path, group: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that gets the job on its standard input."""
    work = json.dumps({"job": _plain(job), "state": str(state)}).encode()
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "truehessian.pipeline.stage.follower"],
        stdin=subprocess.PIPE,
        env=os.environ | group | {"PYTHONPATH": paths},
    )
    assert process.stdin is not None
    process.stdin.write(work)
    process.stdin.close()
    return process


def _plain(job: Job) -> dict[str, object]:
    log = None if job.log is None else str(job.log)
    return job._asdict() | {"script": str(job.script), "log": log}


def _end(others: list[subprocess.Popen[bytes]]) -> None:
    """Wait for processes that have nothing left to do."""
    for process in others:
        try:
            process.wait(_LAST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
