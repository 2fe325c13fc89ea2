"""The command: `python -m benchmarks`, from the project's folder."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import (
    checks,
    compiled,
    folds,
    goals,
    groups,
    memory,
    outputs,
    precision,
    processes,
    products,
    report,
    restore,
    scaling,
    spectra,
    training,
)
from benchmarks.report import Section
from benchmarks.settings import CPU, CUDA, QUICK, Settings, prepare
from truehessian.data.sources import SOURCES
from truehessian.operators.precision import PRECISIONS

SECTIONS: dict[str, Callable[[Settings], Section]] = {
    "product": products.full_data,
    "kept": products.mini_batch,
    "checks": checks.first_look,
    "lanczos": spectra.fixed_length,
    "small": spectra.small_networks,
    "folds": folds.in_one_graph,
    "ends": spectra.both_ends,
    "variance": scaling.directional_variance,
    "recurrence": scaling.recurrence,
    "memory": memory.peak,
    "outputs": outputs.many,
    "groups": groups.layers,
    "growth": scaling.growth,
    "precision": precision.ritz_values,
    "training": training.steps,
    "processes": processes.shared,
    "restore": restore.runs,
    "compiled": compiled.products,
}
# Only where they are asked for: the compiler takes minutes.
_ON_REQUEST = ("compiled",)


_SIZES = ("examples", "chunk", "batch", "dataset", "recurrence_steps")


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    device = torch.device(parsed.device)
    scale = QUICK if parsed.quick else CUDA if device.type == "cuda" else CPU
    changed = {name: getattr(parsed, name) for name in _SIZES}
    scale = scale._replace(**{name: value for name, value in changed.items() if value})
    if parsed.default_experiment:
        scale = scale._replace(experiment=None)
    settings = Settings(scale, device, parsed.precision, parsed.rounds, parsed.root)
    prepare(parsed.precision, parsed.threads)
    where = report.machine(settings)
    print(where, flush=True)
    done = {}
    for name in parsed.sections:
        begin = time.perf_counter()
        done[name] = section = SECTIONS[name](settings)
        print(f"\n### {section.title}\n\n{section.markdown()}", flush=True)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        if parsed.output:
            report.save(parsed.output, done, where)
        if parsed.update_docs:
            report.update(parsed.update_docs, {name: section}, where, device.type)
    if not parsed.quick:  # no goal is about toy sizes
        print("\n### Goals\n", *goals.lines(done, settings), sep="\n", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time truehessian and its peers side by side on identical work.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    usual = [name for name in SECTIONS if name not in _ON_REQUEST]
    add("--sections", type=_sections, default=usual, help=f"of {','.join(SECTIONS)}")
    add("--quick", action="store_true", help="toy sizes, to see that everything works")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--precision", choices=PRECISIONS, default="float32", help="of every tool's products")
    add("--rounds", type=_positive, default=3, help="repetitions of everything, in turns")
    add("--threads", type=_positive, help="of PyTorch; as many as there are cores by default")
    add("--examples", type=_positive, help="N of a full-data product")
    add("--chunk", type=_positive, help="examples per forward pass; should divide N")
    add("--batch", type=_positive, help="examples of a mini-batch product")
    add("--recurrence-steps", type=_positive, help="of the run beside its products")
    add("--default-experiment", action="store_true", help="to restore that, and no smaller one")
    add("--dataset", choices=sorted(SOURCES), help="of the trained network")
    add("--root", default="data", help="folder of the data sets")
    add("--output", type=Path, metavar="FILE", help="write there too, .md or .json")
    add(
        "--update-docs",
        type=Path,
        nargs="?",
        const=Path("docs/performance.md"),
        metavar="FILE",
        help="put each table in its place in the documentation",
    )
    return parser


def _sections(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SECTIONS:
            raise argparse.ArgumentTypeError(
                f"{name!r} is no section; there are {', '.join(SECTIONS)}"
            )
    return names


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
