"""What the tests of faults share: workflows and stages to kill, and small file systems."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
DEADLINE = 300.0  # seconds; a test that waits longer hangs

# Processes that start from one which has PyTorch already, but has computed nothing with it: threads
# of its own would not survive a fork.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["truehessian.spectra.lanczos", "truehessian.pipeline.stage"])


class Workflow:
    """The tiny experiment in a folder of its own, in processes that can be killed."""

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self.folder = folder
        self.store = store or folder / "store"
        self.snakefile = ROOT / "Snakefile"
        self.settings = ROOT / "tests/tiny.yaml"
        # Not a pipe, which jobs that outlive Snakemake would keep open, nor on a disk to be filled.
        self._said = Path(tempfile.gettempdir()) / f"said-{os.getpid()}-{uuid.uuid4().hex}.txt"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake as the leader of a process group."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.snakefile)]
        command += ["--directory", str(self.folder), "--configfile", str(self.settings)]
        environment = {"TRUEHESSIAN_CACHE": str(self.store), "OMP_NUM_THREADS": "1"}
        self._said.unlink(missing_ok=True)
        with self._said.open("w") as said:
            return subprocess.Popen(
                [*command, "--cores", "2", *arguments],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Wait for Snakemake; its status and everything that it and its jobs have said."""
        status, said = process.wait(DEADLINE), self._said.read_text()
        self._said.unlink()
        return status, said

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run Snakemake; its status and everything that it said."""
        return self.end(self.start(*arguments))

    def finish(self, *arguments: str) -> str:
        """Run Snakemake, which has to succeed; everything that it said."""
        status, said = self.run(*arguments)
        assert status == 0, said
        return said

    def twin(self, folder: Path) -> "Workflow":
        """Copy the folder as it is, with the store in it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workflow(folder)

    def at_work(self) -> bool:
        """Whether a job has begun."""
        return any((self.folder / ".snakemake/incomplete").glob("*"))

    def log(self, name: str) -> Path:
        """The log of a stage."""
        return self.folder / "results/tiny/logs" / f"{name}.log"

    def results(self) -> dict[str, str]:
        """Digest of what is in every checkpoint, spectrum and table."""
        base = self.folder / "results"
        names = [path.relative_to(base) for path in sorted(base.rglob("*.*"))]
        return {
            name.as_posix(): digest(base / name)
            for name in names
            if name.suffix in (".safetensors", ".npz", ".csv")
            and not any(part.startswith(".") for part in name.parts)  # drafts of living jobs
        }


def digest(path: Path) -> str:
    """Digest of a result; how long it took does not count."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        metadata = json.loads(str(arrays.pop("metadata")))
        content = {name: value.tobytes().hex() for name, value in arrays.items()}
        content |= {"metadata": {k: v for k, v in metadata.items() if k != "seconds"}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    if path.name in ("training.csv", "learning_curves.csv"):
        text = pd.read_csv(path).drop(columns="seconds").to_csv()
        return hashlib.sha256(text.encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wait_until(condition: Callable[[], Any], process: Any = None) -> None:
    """Wait for something to happen, while a process is alive."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        if isinstance(process, subprocess.Popen):
            assert process.poll() is None, "it has ended before"
        time.sleep(0.01)


def kill_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Send a signal to Snakemake and its jobs at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.wait(DEADLINE)


def children(pid: int) -> list[int]:
    """Processes that a process has started, themselves only."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for t in threads for child in (t / "children").read_text().split()]
    except OSError:
        return []


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "8m") -> Iterator[Path]:
    """A file system of its own in a folder, of a size in the way of `mount`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount`")
    if done.returncode:
        again = "unshare -rm uv run pytest tests/pipeline/test_faults.py"
        pytest.skip(f"no right to mount; try `{again}`")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up a disk to the last byte; the file that does."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def whole(outputs: Path) -> dict[str, str]:
    """Contents of the outputs that there are under their final names."""
    return {path.name: path.read_text() for path in outputs.glob("[!.]*.txt")}


def process(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process; returns as soon as that is at work, which it says by its first argument."""
    begun = PROCESSES.Event()
    started = PROCESSES.Process(target=target, args=(begun, *arguments))
    started.start()
    assert begun.wait(60)
    return started


def kill_at_random(
    begin: Callable[[], BaseProcess],
    seed: int,
    *,
    kills: int,
    longest: float,
    check: Callable[[], None],
) -> int:
    """Kill processes at random moments until enough are dead; how many were."""
    draw = random.Random(seed)
    killed = 0
    for _ in range(10 * kills):
        victim = begin()
        victim.join(draw.uniform(0, longest))
        if victim.is_alive():
            victim.kill()
            victim.join()
            killed += victim.exitcode == -signal.SIGKILL
        check()
        if killed == kills:
            break
    return killed
