"""What is killed in the tests of faults: a slow stage and a slow Lanczos recurrence.

Imports no more than it needs, because every process that is killed imports it.
"""

import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace

import torch

from truehessian.pipeline import stage
from truehessian.pipeline.stage import store
from truehessian.pipeline.stage.fingerprint import fingerprint
from truehessian.spectra.lanczos import probe_vector, tridiagonalise
from truehessian.spectra.recurrence import Journal


def lanczos(begun: Event, folder: Path) -> None:
    """A recurrence with slow products that notes its state often; for a process of its own."""
    torch.set_num_threads(1)
    matrix = torch.diag(torch.arange(1.0, 41.0, dtype=torch.float64))

    def product(vector):
        time.sleep(0.02)
        return matrix.mv(vector)

    begun.set()
    run = tridiagonalise(
        product, probe_vector(40, 0), 40, journal=Journal(folder / "state", interval=0.005)
    )
    (folder / "done").write_bytes(run.diagonal.tobytes() + run.basis.numpy().tobytes())


class Log(list):
    """Snakemake's list of log files."""


SCRIPT = "def main(source, *, copy_out, parts_out, factor, state):\n    pass\n"


def job(folder: Path, outputs: Path | None = None) -> SimpleNamespace:
    """What Snakemake injects into a script: one input, one output and a list of two."""
    outputs = outputs or folder / "results"
    script = folder / "scripts/measure.py"
    for path in (script.parent, outputs):
        path.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT)
    (folder / "source.txt").write_text("input")
    return SimpleNamespace(
        params={"factor": 2, "code": fingerprint(script)},
        input={"source": str(folder / "source.txt")},
        output={
            "copy": str(outputs / "copy.txt"),
            "parts": [str(outputs / "0.txt"), str(outputs / "1.txt")],
        },
        threads=1,
        log=Log([str(folder / "measure.log")]),
        scriptdir=str(folder / "scripts"),
    )


PIECES = 20
WHOLE = {"copy.txt": "input" * PIECES, "0.txt": "0" * PIECES, "1.txt": "1" * PIECES}


def work(source: str, *, copy_out: str, parts_out: list[str], factor: int, state: Path) -> None:
    """Write outputs piece by piece, going on from the pieces that the state tells of."""
    state.mkdir(parents=True, exist_ok=True)
    texts = {copy_out: Path(source).read_text(), parts_out[0]: "0", parts_out[1]: "1"}
    for piece in range(PIECES):
        if not (state / str(piece)).exists():
            time.sleep(0.02)
            (state / str(piece)).write_text("")
    for path, text in texts.items():
        with open(path, "w") as file:
            for _ in range(PIECES):
                file.write(text)
                file.flush()
                time.sleep(0.001)


def run_stage(begun: Event, folder: Path, cache: Path) -> None:
    """Do `work` as a stage; for a process of its own."""
    os.environ[store.VARIABLE] = str(cache)
    os.chdir(folder)
    begun.set()
    stage.run(job(folder), work)
