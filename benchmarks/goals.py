"""What is aimed for, and a line for each that says whether it is met."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

from benchmarks.report import Section
from benchmarks.settings import Settings

_COMMAND = "uv run --with-requirements benchmarks/requirements.txt python -m benchmarks"


class Goal(NamedTuple):
    """A bound for one number of one table.

    Attributes
    ----------
    name
        In words.
    section, table, row, column
        Where the number is: the section's name in the command, and what the table's name and the
        row begin with.
    bound, unit
        The number that is aimed for, rounded as the table rounds.
    least
        Whether it is to be no less, and not no more.
    device
        Where.
    """

    name: str
    section: str
    table: str
    row: str
    column: str
    bound: float
    unit: str
    least: bool = False
    device: str = "cpu"


_OURS = "truehessian"
_SPEED = "× the best peer"
GOALS = [
    Goal("product PreResNet110", "product", "PreResNet110", _OURS, "gradients", 2.3, " gradients"),
    Goal("product VGG16", "product", "VGG16", _OURS, "gradients", 2.55, " gradients"),
    Goal("kept PreResNet110", "kept", "PreResNet110", _OURS, "gradients", 1.62, " gradients"),
    Goal("kept VGG16", "kept", "VGG16", _OURS, "gradients", 1.96, " gradients"),
    Goal("both ends", "ends", "", _OURS, "speed against the best peer", 2.28, _SPEED, True),
    Goal("Lanczos of fixed length", "lanczos", "", _OURS, "speed", 1.0, _SPEED, True),
    *(
        Goal(
            f"{batches} in one graph",
            "folds",
            batches,
            "truehessian, in one graph",
            "speed against one by one",
            bound,
            "× one by one",
            True,
        )
        for batches, bound in {
            "20 batches of 16": 2.5,
            "20 batches of 64": 2.5,
            "5 batches of 64": 1.5,
        }.items()
    ),
    *(
        Goal(
            f"two processes, {what}",
            "processes",
            "",
            what,
            "speed against one",
            bound,
            "× one process",
            True,
        )
        for what, bound in {"one product": 1.8, "30 Lanczos steps": 1.7}.items()
    ),
    Goal("restored, reduced experiment", "restore", "reduced", "restored", "seconds", 30, " s"),
    Goal("restored, default experiment", "restore", "default", "restored", "seconds", 30, " s"),
    Goal("nothing to be done", "restore", "", "nothing", "seconds", 5, " s"),
    *(
        Goal(
            f"H100: 50,000 images, {network}",
            "product",
            network,
            _OURS,
            "samples/s",
            rate,
            " samples/s",
            True,
            "cuda",
        )
        for network, rate in {"PreResNet110": 12_500.0, "VGG16": 33_300.0}.items()
    ),
    *(
        Goal(
            f"H100: compiled product {network}",
            "compiled",
            network,
            _OURS,
            "compiled gradients",
            bound,
            " compiled gradients",
            False,
            "cuda",
        )
        for network, bound in {"PreResNet110": 2.8, "VGG16": 2.8}.items()
    ),
]


def lines(done: Mapping[str, Section], settings: Settings) -> list[str]:
    """Say of every goal whether what has been measured meets it."""
    return [f"{goal.name}: {_verdict(goal, done, settings)}" for goal in GOALS]


def _verdict(goal: Goal, done: Mapping[str, Section], settings: Settings) -> str:
    options = {"cuda": " --device cuda --precision tf32"}.get(goal.device, "")
    command = f"`{_COMMAND}{options} --sections {goal.section}`"
    if goal.device != settings.device.type:
        where = "needs a GPU" if goal.device == "cuda" else "needs no GPU"
        if goal.device == "cuda" and torch.cuda.is_available():
            where = "not asked for"
        return f"not measured, {where}: {command}"
    if goal.section not in done:
        return f"not measured: {command}"
    if goal.unit == _SPEED and "not installed" in done[goal.section].markdown():
        return f"not measured, peers are not installed: {command}"
    found = _number(goal, done[goal.section])
    if isinstance(found, str):
        return f"not measured, {found}"
    digits = 0 if goal.bound >= 100 else 2
    value, bound = (f"{number:,.{digits}f}" for number in (found, goal.bound))
    met = found >= goal.bound if goal.least else found <= goal.bound
    sense = "at least" if goal.least else "at most"
    return f"{value}{goal.unit}, goal {sense} {bound}: {'met' if met else 'missed'}"


def _number(goal: Goal, section: Section) -> float | str:
    """Read the number off its table, or say why there is none."""
    tables = [table for name, table in section.tables.items() if name.startswith(goal.table)]
    if not tables:
        return "not at this size"
    (row,) = [row for row in tables[0].rows if row[0].startswith(goal.row)][:1] or [[]]
    place = tables[0].columns.index(goal.column)
    if not row:
        return "not at this size"
    # The median is the first number. A row that is cut short ends with its reason.
    number = re.match(r"\d[\d,.]*", row[place]) if len(row) > place else None
    return float(number[0].replace(",", "")) if number else row[-1]
