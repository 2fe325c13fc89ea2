"""What two processes with a thread each give against one of them alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks import report
from benchmarks.report import Section, Table
from benchmarks.settings import CPU, Arguments, Settings
from benchmarks.workloads import artificial
from truehessian.operators import Hessian, ranks
from truehessian.operators.ranks import Ranks
from truehessian.operators.shared import Shared
from truehessian.spectra import lanczos

_NETWORK: Arguments = {"name": "preresnet", "depth": 20}
_STEPS = 30


def shared(settings: Settings) -> Section:
    """Time products and whole recurrences of two processes, in turns with one that is alone."""
    if settings.device.type != "cpu":
        raise NotImplementedError("processes are timed on a CPU only")
    count, chunk = 2 * settings.scale.examples, settings.scale.chunk
    seconds = _in_processes(2, [str(count), str(chunk), str(settings.rounds)], settings)
    rows = []
    for what, (alone, together) in seconds.items():
        ratios = [one / two for one, two in zip(alone, together, strict=True)]
        speed = f"{median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append([what, f"{median(alone):.3g}", f"{median(together):.3g}", speed])
    text = (
        f"PreResNet20, {count} images of {report.shape(settings.scale.image)} in chunks of "
        f"{chunk}, graphs fresh, a thread each; {report.rounds(settings)}: one process while the "
        "other waits, then both."
    )
    columns = ["", "seconds of one", "seconds of two", "speed against one"]
    return Section("Two processes", text, {"": Table(columns, rows)})


def _in_processes(
    count: int, arguments: list[str], settings: Settings
) -> dict[str, list[list[float]]]:
    image = ",".join(map(str, settings.scale.image))
    started = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, "-m", *started, "-m", "benchmarks.processes", image, *arguments]
    threads = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=threads, stdout=subprocess.PIPE, check=True, text=True)
    seconds: dict[str, list[list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _time(image: tuple[int, int, int], count: int, chunk: int, rounds: int) -> None:
    """Print the seconds of every round, of one process and of all, from the first one."""
    torch.set_num_threads(1)
    together = ranks.of_environment("cpu")
    assert together is not None
    settings = Settings(CPU._replace(image=image), torch.device("cpu"))
    problem = artificial(settings, _NETWORK, count, chunk=chunk)
    data = (problem.inputs, problem.targets)
    whole = Hessian(problem.model, data, chunk_size=chunk, memory=0)
    both = Shared(Hessian(problem.model, data, chunk_size=chunk, memory=0), together)
    start = problem.vector()
    calls: dict[str, Callable[[Hessian | Shared], object]] = {
        "one product": lambda matrix: matrix.matvec(start),
        f"{_STEPS} Lanczos steps": lambda matrix: lanczos.tridiagonalise(
            matrix.matvec, start, _STEPS, dtype=torch.float32
        ),
    }
    seconds: dict[str, list[list[float]]] = {name: [[], []] for name in calls}
    for matrix in (whole, both):  # with the checks before the first product
        matrix.matvec(start)
    for _ in range(rounds):
        for name, call in calls.items():
            own = seconds[name]
            own[0].append(_seconds(call, whole if together.number == 0 else None, together))
            own[1].append(_seconds(call, both, together))
    if together.number == 0:
        print(json.dumps(seconds))


def _seconds(
    call: Callable[[Hessian | Shared], object], matrix: Hessian | Shared | None, together: Ranks
) -> float:
    together.wait()
    begin = time.perf_counter()
    if matrix is not None:
        call(matrix)
    together.wait()
    return time.perf_counter() - begin


if __name__ == "__main__":
    shape, *numbers = sys.argv[1:]
    channels, height, width = map(int, shape.split(","))
    _time((channels, height, width), *map(int, numbers))
