"""Run a program in several processes that find each other, as torchrun would start them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

_HERE = Path(__file__).parent


class Ended(NamedTuple):
    """How a process has ended: its status, the last line that it printed as JSON, its errors."""

    status: int
    said: Any
    errors: str


def run(program: str, count: int, *arguments: str, timeout: float = 120) -> list[Ended]:
    """Run a file of this folder in `count` processes with a thread each, and wait for them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(_HERE), *filter(None, sys.path)]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(_HERE / program), *arguments],
            env=os.environ | shared | {"RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    ended = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=timeout)
            lines = output.strip().splitlines()
            said = json.loads(lines[-1]) if lines and lines[-1].startswith(("{", "[")) else None
            ended.append(Ended(process.returncode, said, errors))
    finally:
        for process in processes:
            process.kill()
    return ended
