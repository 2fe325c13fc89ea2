"""The section on memory: a fresh process for each tool, the peak during one product."""

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks import report
from benchmarks.peers import TOOLS
from benchmarks.report import Section, Table
from benchmarks.settings import QUICK, Arguments, Settings, prepare
from benchmarks.tools import Tool
from benchmarks.workloads import artificial

_ROOT = Path(__file__).parents[1]


def peak(settings: Settings) -> Section:
    """Peak memory of one product beyond what was there before."""
    tables = {
        network: _table(arguments, settings)
        for network, arguments in settings.scale.networks.items()
    }
    what = (
        "memory allocated on the GPU"
        if settings.device.type == "cuda"
        else "resident memory of the process"
    )
    text = (
        f"One product on one chunk of {settings.scale.memory_chunk} images of "
        f"{report.shape(settings.scale.image)}, nothing kept, in a fresh process each: peak "
        f"{what} during the product less that before it, after a product with two images."
    )
    return Section("Peak memory of a product", text, tables)


def _table(arguments: Arguments, settings: Settings) -> Table:
    results = {tool.label: _in_fresh_process(tool, arguments, settings) for tool in TOOLS}
    peers = [v for label, v in list(results.items())[1:] if isinstance(v, float)]
    best = min(peers, default=float("nan"))
    rows = [
        [label, f"{value:,.0f}", report.ratio(value / best)]
        if isinstance(value, float)
        else [label, value]
        for label, value in results.items()
    ]
    return Table(["", "MB", "against the leanest peer"], rows)


def _in_fresh_process(tool: Tool, arguments: Arguments, settings: Settings) -> float | str:
    """Give megabytes, or what went wrong."""
    try:
        tool.require()
    except Exception as error:  # the same words as everywhere
        return str(error)
    work = {
        "tool": tool.name,
        "network": arguments,
        "image": settings.scale.image,
        "chunk": settings.scale.memory_chunk,
    }
    found = in_fresh_process("benchmarks.memory", work, settings)
    return found if isinstance(found, str) else found[-1]


def in_fresh_process(module: str, work: dict, settings: Settings) -> list[float] | str:
    """Let a module measure `work` in a process of its own; give its numbers, or what went wrong."""
    work |= {
        "device": str(settings.device),
        "precision": settings.precision,
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", module, json.dumps(work)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"error: {' '.join(done.stderr.split()[-20:])}"
    return [float(number) for number in done.stdout.split()]


def _measure(work: dict) -> float:
    """Measure in this process; megabytes."""
    prepare(work["precision"], work["threads"])
    scale = QUICK._replace(image=tuple(work["image"]))
    settings = Settings(scale, torch.device(work["device"]), work["precision"])
    tool = next(tool for tool in TOOLS if tool.name == work["tool"])
    for count in (2, work["chunk"]):
        problem = artificial(settings, work["network"], count, chunk=count)
        product, vector = tool.product(problem, keep=False), problem.vector()
        gc.collect()
        before = reset(settings.device)
        product(vector)
        after = highest(settings.device)
    return (after - before) / 1e6


def reset(device: torch.device) -> int:
    """Start a new peak; give the bytes that are in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def highest(device: torch.device) -> int:
    """Give the most bytes that were in use since."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def _status(key: str) -> int:
    """Read a line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(key + ":")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=json.loads)
    print(_measure(parser.parse_args().work))
