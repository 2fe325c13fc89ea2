"""The command: `python -m benchmarks`, from the project's folder."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import memory, products, report, scaling, spectra
from benchmarks.report import Section
from benchmarks.settings import CPU, CUDA, QUICK, Settings, prepare

SECTIONS: dict[str, Callable[[Settings], Section]] = {
    "product": products.full_data,
    "kept": products.mini_batch,
    "lanczos": spectra.fixed_length,
    "ends": spectra.both_ends,
    "variance": scaling.directional_variance,
    "recurrence": scaling.recurrence,
    "memory": memory.peak,
    "growth": scaling.growth,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    device = torch.device(parsed.device)
    scale = QUICK if parsed.quick else CUDA if device.type == "cuda" else CPU
    changed = {"examples": parsed.examples, "chunk": parsed.chunk, "batch": parsed.batch}
    scale = scale._replace(**{name: value for name, value in changed.items() if value})
    settings = Settings(scale, device, parsed.precision, parsed.rounds, parsed.root)
    prepare(parsed.precision, parsed.threads)
    where = report.machine(settings)
    print(where, end="\n\n", flush=True)
    done = {}
    for name in parsed.sections:
        done[name] = section = SECTIONS[name](settings)
        print(f"### {section.title}\n\n{section.markdown()}\n", flush=True)
        if parsed.output:
            report.save(parsed.output, done, where)
    if parsed.update_docs:
        report.update(Path("docs/performance.md"), done, where, device.type)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sections", type=_sections, default=list(SECTIONS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--root", default="data")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--update-docs", action="store_true")
    return parser


def _sections(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
