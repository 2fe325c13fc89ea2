"""Which figures and tables a run has, by what its configuration holds."""

import itertools
import re
from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any, NamedTuple

from truehessian.report.contents import CONTENTS
from truehessian.report.contents.base import Content, Figure, Table

Run = Mapping[str, Any]  # a run's configuration, with all defaults filled in

SIZES = ("batch_size", "factor", "chunk_size")


class FigureName(NamedTuple):
    """A figure's name taken apart: `stem-batch-32-5` is a `stem-batch` of B = 32 at epoch 5."""

    kind: str
    numbers: dict[str, int]


class Case(NamedTuple):
    """One call of an entry's `make`: the figure's name, the numbers in it, and files by name."""

    figure: str
    numbers: dict[str, int]
    inputs: dict[str, list[str]]


def entries() -> dict[str, Content]:
    """All figures and tables, in the order in which they are shown."""
    return CONTENTS.entries()


def parse(name: str) -> FigureName:
    """Take a figure's name apart; a name of no known kind is a kind of its own."""
    match = re.fullmatch(r"(.+?)((?:-\d+)+)", name)
    if match is None or match[1] not in CONTENTS:
        return FigureName(name, {})
    values = [int(value) for value in match[2].split("-")[1:]]
    figure = CONTENTS.load(match[1]).figure
    if figure is None or len(figure.over) != len(values):
        return FigureName(name, {})
    return FigureName(match[1], dict(zip(figure.over, values, strict=True)))


def figures_of(run: Run) -> list[str]:
    """Names of all figures of a run."""
    return [name for content in entries().values() for name in names_of(content, run)]


def names_of(content: Content, run: Run) -> list[str]:
    """Names of all figures of one entry; none where the run lacks what they need."""
    if content.figure is None or not has(run, content.figure):
        return []
    return [named(content.name, numbers) for numbers in numbers_of(content.figure, run)]


def tables_of(run: Run) -> list[str]:
    """Names of all tables of a run that are files."""
    return [
        content.name
        for content in entries().values()
        if content.table is not None and not content.table.collected and has(run, content.table)
    ]


def made_of(run: Run) -> list[Content]:
    """All entries that bring their own `make`, as far as the run has what they need."""
    return [
        content
        for content in entries().values()
        if content.make is not None and (has(run, content.figure) or has(run, content.table))
    ]


def cases_of(content: Content, run: Run) -> list[Case]:
    """All calls of an entry's `make` for a run; its files are relative to the run's folder."""
    figure = content.figure or Figure(content.needs)
    return [
        Case(
            named(content.name, numbers),
            numbers,
            {name: _files(content, name, numbers, figure, run) for name in content.inputs},
        )
        for numbers in numbers_of(figure, run)
    ]


def has(run: Run, part: Figure | Table | None) -> bool:
    """Whether a run has everything that a figure or table needs."""
    return part is not None and all(run.get(section) for section in part.needs)


def named(name: str, numbers: Mapping[str, int]) -> str:
    """Put numbers behind a name."""
    return "-".join([name, *map(str, numbers.values())])


def numbers_of(figure: Figure, run: Run) -> list[dict[str, int]]:
    """All combinations of the numbers that a figure is over, the first varying slowest."""
    values = [_values(what, figure, run) for what in figure.over]
    return [dict(zip(figure.over, each, strict=True)) for each in itertools.product(*values)]


def _values(what: str, figure: Figure, run: Run) -> list[Any]:
    """All values that a number has in a run, with the epochs of a section where it has its own.

    Raises
    ------
    ValueError
        There is no such number.
    """
    if what == "epoch":
        own = (run[section].get("epochs") for section in figure.needs if section in run)
        return sorted(next((epochs for epochs in own if epochs), run["epochs"]))
    if what == "batch_size":
        return sorted((run["batch"] or {}).get("sizes", []))
    if what == "factor":
        return sorted(item["factor"] for item in (run["augmentation"] or {}).get("factors", []))
    if what == "chunk_size":
        return sorted((run["batchnorm"] or {}).get("chunk_sizes", []))
    if what == "parts":
        return sorted((run["subsamples"] or {}).get("parts", []))
    if what == "operator":
        return sorted(run["operators"])
    raise ValueError(
        "a number of a figure or file must be epoch, parts, operator or one of "
        f"{', '.join(SIZES)}, got {what!r}"
    )


def _files(
    content: Content, name: str, numbers: Mapping[str, int], figure: Figure, run: Run
) -> list[str]:
    """Files of one input; none where the run lacks the section that makes them, or its epochs."""
    section = content.sections.get(name)
    if section is not None:
        figure = Figure(needs=(section,))
        if not has(run, figure):
            return []
        if "epoch" in numbers and numbers["epoch"] not in _values("epoch", figure, run):
            return []
    return list(_expanded(content.inputs[name], numbers, figure, run))


def _expanded(pattern: str, numbers: Mapping[str, int], figure: Figure, run: Run) -> Iterator[str]:
    free = [name for _, name, _, _ in Formatter().parse(pattern) if name and name not in numbers]
    values = [_values(name, figure, run) for name in free]
    for each in itertools.product(*values):
        yield pattern.format(**numbers, **dict(zip(free, each, strict=True)))
