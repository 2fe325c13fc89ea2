"""Lay the page out: sections, embedded figures, formatted tables."""

import base64
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from truehessian import text
from truehessian.report import captions, findings, measures
from truehessian.report.contents import catalogue
from truehessian.report.contents.base import SECTIONS, Content
from truehessian.report.run import RunReport

_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def render(runs: Sequence[RunReport], *, title: str, template_folder: str | Path) -> str:
    """Make one HTML page that needs nothing else: no other file and no network.

    Parameters
    ----------
    runs
        As `collect` returns them.
    title
        Heading of the page.
    template_folder
        Holds `report.html.j2` and the captions that do not stand in the entries of `contents`:
        `{kind}.md` of a figure (`stem-batch.md`, ...), `table-{name}.md` of a table. One that is
        not there is left out.

    Returns
    -------
    str
        The page; the same for the same runs.

    Raises
    ------
    FileNotFoundError
        A figure has vanished.
    """
    engine = environment(template_folder)
    views = [
        _run_view(engine, run, f"run-{position}") for position, run in enumerate(runs, start=1)
    ]
    return engine.get_template("report.html.j2").render(title=title, runs=views)


def environment(template_folder: str | Path) -> Environment:
    """Set up the template engine: values escaped, unknown names refused, numbers as filters."""
    engine = Environment(
        loader=FileSystemLoader(template_folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        text.number,
        text.with_error,
        text.count,
        text.percent,
        text.times,
    ):
        engine.filters[function.__name__] = function
    return engine


def _run_view(engine: Environment, run: RunReport, anchor: str) -> dict[str, Any]:
    sections = [
        {"key": key, "anchor": f"{anchor}-{key}", "heading": heading}
        | _section_view(engine, run, _contents_of(key, run))
        for key, heading in SECTIONS.items()
    ]
    num_examples = run.summary.get("num_examples")
    return {
        "name": run.name,
        "anchor": anchor,
        "facts": _facts(run),
        "headlines": [
            *_of_weight_decay(run.summary.get("weight_decay", 0.0)),
            *findings.headlines(run.tables, num_examples),
        ],
        "sections": [
            section
            for section in sections
            if any(section[part] for part in ("absent", "figures", "tables"))
        ],
        "provenance": [
            {"caption": caption, **_cells(frame)}
            for caption, frame in (
                ("Time and memory by stage", run.stages),
                ("Measured spectra", run.spectra),
            )
            if frame is not None
        ],
        "versions": run.summary.get("versions", {}),
    }


def _contents_of(section: str, run: RunReport) -> dict[str, Content]:
    """Entries of a section; what a run has and nobody knows comes under further results."""
    known = catalogue.entries()
    found = {name: content for name, content in known.items() if content.section == section}
    if section == "other":
        names = [*sorted(catalogue.parse(figure).kind for figure in run.figures), *run.tables]
        unknown = [name for name in names if name not in known]
        found |= {name: Content(name, section, optional=True) for name in unknown}
    return found


def _section_view(
    engine: Environment, run: RunReport, contents: dict[str, Content]
) -> dict[str, Any]:
    kinds = list(contents)
    named = {name: catalogue.parse(name) for name in run.figures}
    shown = [name for name, parsed in named.items() if parsed.kind in contents]
    shown.sort(key=lambda name: _place(named[name], kinds))
    missed = [content for content in contents.values() if not content.optional]
    drawn = {named[name].kind for name in shown}
    no_figures = [item.name for item in missed if item.figure and item.name not in drawn]
    no_tables = [item.name for item in missed if item.table and item.name not in run.tables]
    return {
        "figures": [_figure_view(engine, run, name) for name in shown],
        "tables": [_table_view(engine, run, name) for name in contents if name in run.tables],
        "absent": no_figures + [f"table {name}" for name in no_tables],
    }


def _place(name: catalogue.FigureName, kinds: list[str]) -> tuple[int, int, int]:
    """Order figures by epoch, then by kind, then by size; those of one size alone side by side."""
    size = next((value for key, value in name.numbers.items() if key != "epoch"), 0)
    return (name.numbers.get("epoch", size), kinds.index(name.kind), size)


def _figure_view(engine: Environment, run: RunReport, name: str) -> dict[str, Any]:
    path = Path(run.figures[name])
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return {
        "name": name,
        "epoch": catalogue.parse(name).numbers.get("epoch"),
        "source": f"data:{_MEDIA_TYPES[path.suffix]};base64,{content}",
        "caption": captions.of_figure(engine, run, name),
    }


def _table_view(engine: Environment, run: RunReport, name: str) -> dict[str, Any]:
    caption = captions.of_table(engine, run, name)
    return {"name": name, "caption": caption, **_cells(run.tables[name])}


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    """Format a table: four significant digits, whole numbers whole, a dash for what is missing."""
    frame = frame.convert_dtypes()  # columns of whole numbers with gaps become integers
    numeric = [is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in frame.dtypes]
    columns = [
        [_cell(value) for value in frame.iloc[:, position]] for position in range(frame.shape[1])
    ]
    return {
        "headers": [
            {"text": str(name).replace("_", " "), "numeric": kind}
            for name, kind in zip(frame.columns, numeric, strict=True)
        ],
        "rows": list(zip(*columns, strict=True)),
    }


def _cell(value: Any) -> str:
    if pd.isna(value):
        return text.MISSING
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, Integral):
        whole = int(value)
        return text.count(whole) if whole >= 10_000 else str(whole)
    return text.number(float(value), 4) if isinstance(value, Real) else str(value)


def _facts(run: RunReport) -> list[tuple[str, str]]:
    """Choose and word the key facts; those that are unknown are left out."""
    summary = run.summary
    facts: list[tuple[str, Any]] = [
        ("Data set", _name(summary.get("dataset"))),
        ("Network", _name(summary.get("model"))),
        ("Parameters P", summary.get("num_parameters")),
        ("Training examples N", summary.get("num_examples")),
        ("Epochs analysed", ", ".join(map(str, summary.get("epochs", [])))),
        ("Batch normalisation", summary.get("batchnorm")),
        ("Weight decay in matrices", summary.get("weight_decay") or None),
        ("Precision", summary.get("precision")),
        ("Lanczos steps", summary.get("steps")),
        ("Probes", summary.get("probes")),
        ("Device", summary.get("device")),
    ]
    if run.training is not None and not run.training.empty:
        measure = measures.measure_in(run.training) or "loss"
        final = run.training[f"test_{measure}"].iloc[-1]
        facts.append((f"Final test {measures.label(measure)}", measures.written(measure, final)))
    return [
        (label, text.count(value) if isinstance(value, int) else str(value))
        for label, value in facts
        if value not in (None, "")
    ]


def _name(settings: Any) -> Any:
    return settings.get("name") if isinstance(settings, dict) else settings


def _of_weight_decay(decay: float) -> list[str]:
    """Say what eigenvalues have beside those of the loss, before anything is said of them."""
    if decay == 0:
        return []
    return [
        "All Hessians here are those of the loss with its penalty on the weights: each eigenvalue "
        f"is larger by the weight decay of {text.number(decay)} than that of the loss alone. "
        "Predictions and laws of noise go for what lies beyond it; signs are those with it."
    ]
