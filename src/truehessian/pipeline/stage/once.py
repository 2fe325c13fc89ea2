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


def make_importable(package: Path, *own: Path) -> None:
    """Let this process and those that it starts import our package first and a user's modules last.

    A file `random.py` of the user's then hides neither the standard library nor anything that is
    installed. Python would put the folder that it is started in before both, and so would
    ``PYTHONPATH``; jobs get what is last from Snakemake, which extends their path by this one.

    Parameters
    ----------
    package
        Folder that holds our package and nothing else.
    own
        Folders that may hold modules of the user's, the first one first.
    """
    first, last = str(package), [str(folder) for folder in own]
    known = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = [entry for entry in known if str(Path(entry).absolute()) not in last]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([first, *kept]))
    os.environ["PYTHONSAFEPATH"] = "1"
    middle = [entry for entry in sys.path if entry and str(Path(entry).absolute()) not in last]
    sys.path[:] = dict.fromkeys([first, *middle, *last])
