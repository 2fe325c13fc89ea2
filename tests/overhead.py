"""What content hashing, the store and an empty run cost; `uv run python tests/overhead.py`."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faults import Workflow

from truehessian.pipeline.stage import key as keys, origins, runner, store
from truehessian.pipeline.stage.fingerprint import fingerprint
from truehessian.pipeline.stage.job import Job

ROOT = Path(__file__).parents[1]
SIZE = 60_000_000  # bytes
REPEATS = 5


def median_of(act: Callable[[], object]) -> float:
    """Median time in seconds of an action."""
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def of_restoring(folder: Path) -> tuple[float, float]:
    """Seconds for an entry of 60 MB out of the store, and for a mere copy in a folder."""
    source, target = folder / "source.bin", folder / "target.bin"
    source.write_bytes(os.urandom(SIZE))
    key = keys.Key("ab" + "0" * 62, {"stage": "measure"})
    store.save(key, {"vectors": source})
    restoring = median_of(lambda: store.restore(key, {"vectors": target}))
    return restoring, median_of(lambda: shutil.copyfile(source, target))


def of_a_key(folder: Path) -> tuple[float, float]:
    """Seconds for the first key in a process, with modules to be parsed, and for one after it."""
    script = ROOT / "scripts/measure_full_spectra.py"
    for name in ("checkpoint", "dataset"):
        (folder / name).write_bytes(os.urandom(1_000_000))
    inputs = {name: str(folder / name) for name in ("checkpoint", "dataset")}
    settings = {"settings": {"steps": 8, "device": "cpu"}, "network": None, "epoch": 1}
    begin = time.perf_counter()
    job = Job(script, fingerprint(script), inputs, {}, settings, 1, None)

    def key() -> None:
        runner._key(job, origins.of_job(job))

    key()
    return time.perf_counter() - begin, median_of(key)


def of_an_empty_run(folder: Path) -> float:
    """Seconds for a run of the tiny experiment in which nothing is to be done."""
    workflow = Workflow(folder / "run")
    workflow.finish()
    return median_of(workflow.finish)


def main() -> None:
    """Print the table of docs/caching.md."""
    import torch  # noqa: F401 (as in a stage, where it is there before a key is made)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[store.VARIABLE] = str(folder / "cache")
        restoring, copying = of_restoring(folder)
        first, more = of_a_key(folder)
        empty = of_an_empty_run(folder)
    print("| what | seconds |\n|---|---|")
    print(f"| restoring 60 MB, digest checked (a mere copy: {copying:.2f}) | {restoring:.2f} |")
    print(f"| key of a stage, first in its process | {first:.2f} |")
    print(f"| key of a stage, modules parsed | {more:.3f} |")
    print(f"| run with nothing to do | {empty:.1f} |")


if __name__ == "__main__":
    main()
