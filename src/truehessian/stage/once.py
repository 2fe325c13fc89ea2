"""What is read once, when a run begins, and holds for all of its jobs."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def inherited(name: str, make: Callable[[], Value], *, fresh: bool) -> Value:
    """Make a value in the main process, and find the same one in its jobs.

    Jobs read the workflow again, and their outputs are recorded under what the main process read.
    Without this, a job that was queued while code or configuration were edited would be recorded
    as what it is not. The value travels in the environment.

    Parameters
    ----------
    name
        Of the value, unique in the workflow.
    make
        Gives a value that JSON can hold.
    fresh
        Whether this is the main process.
    """
    variable = f"TRUEHESSIAN_{name}"
    if fresh or variable not in os.environ:
        os.environ[variable] = json.dumps(make())
    value: Value = json.loads(os.environ[variable])
    return value


def make_importable(*folders: Path) -> None:
    """Let this process and those that it starts import from folders, the first one first."""
    known = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    wanted = [str(folder) for folder in folders]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*wanted, *known]))
    sys.path[:] = dict.fromkeys([*wanted, *sys.path])
