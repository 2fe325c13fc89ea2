"""Tables as Markdown and JSON, and their place in the documentation."""

import datetime
import json
import platform
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.settings import Settings


class Table(NamedTuple):
    """Rows of text; a row that is cut short has its reason in the second column."""

    columns: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """Write as a pipe table, numbers to the right."""
        width = len(self.columns)
        rows = [row + [""] * (width - len(row)) for row in self.rows]
        align = ["left"] + ["right"] * (width - 1)
        table = tabulate(rows, self.columns, tablefmt="pipe", colalign=align, disable_numparse=True)
        return f"{table}\n\n{self.note}".rstrip()


class Section(NamedTuple):
    """What was measured, and a table per network or case (the empty name has no heading)."""

    title: str
    text: str
    tables: dict[str, Table]

    def markdown(self) -> str:
        """Write text and tables, without the title."""
        parts = [self.text]
        for name, table in self.tables.items():
            parts += [f"**{name}**"] if name else []
            parts.append(table.markdown())
        return "\n\n".join(parts)


def machine(settings: Settings) -> str:
    """Say where and when, in one sentence."""
    device = _processor()
    if settings.device.type == "cuda":
        device = f"{torch.cuda.get_device_name(settings.device)} (host: {device})"
    return (
        f"{device}, {torch.get_num_threads()} threads, {settings.precision}, "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, "
        f"{datetime.datetime.now(datetime.UTC).date()}."
    )


def markdown(sections: dict[str, Section], where: str) -> str:
    """Write all sections under the sentence that says where they were measured."""
    parts = [where]
    for section in sections.values():
        parts += [f"### {section.title}", section.markdown()]
    return "\n\n".join(parts) + "\n"


def save(path: Path, sections: dict[str, Section], where: str) -> None:
    """Write Markdown, or JSON where the name ends so."""
    if path.suffix == ".json":
        content: dict[str, Any] = {
            "where": where,
            "sections": {
                name: {
                    "title": section.title,
                    "text": section.text,
                    "tables": {n: table._asdict() for n, table in section.tables.items()},
                }
                for name, section in sections.items()
            },
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        path.write_text(markdown(sections, where), encoding="utf-8")


def update(path: Path, sections: dict[str, Section], where: str, device: str) -> None:
    """Replace what stands between the markers of these sections and this device.

    Those of a GPU come with their titles, since the text gives them for the CPU only.

    Raises
    ------
    ValueError
        A marker is missing.
    """
    text = path.read_text(encoding="utf-8")
    for name, section in sections.items():
        marker = f"{name} {device}"
        pattern = re.compile(f"(<!-- begin {marker} -->).*?(<!-- end {marker} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{path} has no <!-- begin {marker} --> with an end")
        title = f"### {section.title}\n\n" if device == "cuda" else ""
        block = f"\n{title}{section.markdown()}\n\n{where}\n"
        text = pattern.sub(lambda match, block=block: match[1] + block + match[2], text)
    path.write_text(text, encoding="utf-8")


def number(value: float) -> str:
    """Write three digits, with separators of thousands."""
    if not np.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def spread(values: list[float]) -> str:
    """Median, and the range over the rounds."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(float(np.median(values)))} ({number(min(values))} to {number(max(values))})"


def ratio(value: float) -> str:
    """Write a factor with two decimals."""
    return f"{value:.2f}×" if np.isfinite(value) else "-"


def shape(image: tuple[int, int, int]) -> str:
    """32x32x3 for (3, 32, 32)."""
    return "×".join(map(str, (*image[1:], image[0])))


def rounds(settings: Settings) -> str:
    """Say what the numbers are."""
    return f"medians (and range) of {settings.rounds} interleaved rounds"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.machine()
