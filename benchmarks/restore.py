"""The section on a run of the workflow: computed, restored, and with nothing to be done."""

import contextlib
import ctypes
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import Settings

ROOT = Path(__file__).parents[1]
_SET_CHILD_SUBREAPER = 36  # of prctl(2)
_PATIENCE = 90.0  # seconds for what a run leaves behind, such as the process that has PyTorch


class Cost(NamedTuple):
    """What a run has taken: seconds by the clock, and of all its processes together."""

    seconds: float
    cpu_seconds: float


def runs(settings: Settings) -> Section:
    """Run an experiment in an empty folder, then again without its results, then again."""
    experiment = settings.scale.experiment
    with tempfile.TemporaryDirectory(prefix="truehessian-benchmark-") as folder:
        rows, note = _rows(Path(folder), experiment, settings)
    text = (
        f"{_named(experiment)}, in an empty folder and with an empty store on "
        f"{os.cpu_count()} cores: computed once, then without `results` and `.snakemake`, then "
        f"with nothing to be done; medians (and range) of {settings.rounds} rounds. CPU seconds "
        "are of Snakemake and all that it has started."
    )
    columns = ["", "seconds", "CPU seconds"]
    name = Path(experiment).stem if experiment else "default"
    return Section("A run restored", text, {name: Table(columns, rows, note)})


def _rows(folder: Path, experiment: str | None, settings: Settings) -> tuple[list[list[str]], str]:
    costs: dict[str, list[Cost]] = {"computed": [run(folder, experiment)]}
    computed = _digests(folder / "results")
    changed: set[str] = set()
    for _ in range(settings.rounds):
        for name in ("results", ".snakemake"):
            shutil.rmtree(folder / name)
        costs.setdefault("restored", []).append(run(folder, experiment))
        restored = _digests(folder / "results")
        changed |= {name for name, digest in computed.items() if restored.get(name) != digest}
        costs.setdefault("nothing to be done", []).append(run(folder, experiment))
    rows = [
        [
            name,
            report.spread([cost.seconds for cost in own]),
            report.spread([cost.cpu_seconds for cost in own]),
        ]
        for name, own in costs.items()
    ]
    if changed:
        return rows, f"Other files than those computed: {', '.join(sorted(changed))}."
    return rows, f"{len(computed):,} files, restored to the same bits."


def run(folder: Path, experiment: str | None) -> Cost:
    """Let Snakemake make everything in a folder, from a process that nothing else is a child of.

    Raises
    ------
    RuntimeError
        The run fails.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "all", "--quiet", "all"]
    if experiment is not None:
        command += ["--configfile", str(ROOT / experiment)]
    environment = {**os.environ, "TRUEHESSIAN_CACHE": str(folder / "store")}
    done = subprocess.run(
        [sys.executable, "-m", __name__, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the workflow fails: {' '.join(done.stderr.split()[-60:])}")
    return Cost(*map(float, done.stdout.split()[-2:]))


def _measure(command: list[str]) -> int:
    """Run a command, wait for all that it has started, and print what it took."""
    with contextlib.suppress(OSError, AttributeError):  # Linux: become the parent of orphans
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begin = time.perf_counter()
    status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    seconds = time.perf_counter() - begin
    with contextlib.suppress(ChildProcessError):  # none is left
        while time.perf_counter() - begin - seconds < _PATIENCE:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(seconds, usage.ru_utime + usage.ru_stime)
    return status


def _digests(folder: Path) -> dict[str, str]:
    """Digest what a run has computed; not its logs."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if "logs" not in path.parts
    }


def _named(experiment: str | None) -> str:
    return "The default experiment" if experiment is None else f"The experiment `{experiment}`"


if __name__ == "__main__":
    sys.exit(_measure(sys.argv[1:]))
