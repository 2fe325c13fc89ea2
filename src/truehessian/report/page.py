"""Lay the page out: sections, embedded figures, formatted tables."""

import base64
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from truehessian.report import captions, findings, wording
from truehessian.report.run import RunReport

_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}

# Key, heading, kinds of figures, tables.
SECTIONS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("training", "Learning curves and checkpoints", ("learning_curves",), ("checkpoints",)),
    (
        "spectra",
        "Spectra by epoch",
        ("stem-full", "stem-batch", "stem-augmented", "stem-noise", "stem-ggn"),
        (),
    ),
    (
        "extremes",
        "Extremal eigenvalues",
        ("boxplot-largest", "boxplot-smallest"),
        ("extremal_ritz_values",),
    ),
    ("variance", "Hessian variance", ("variance",), ("variance",)),
    (
        "theory",
        "Theory against measurement",
        ("theory_vs_empirical", "distributions", "overlaps", "noise"),
        ("theory_vs_empirical", "batch_predictions", "outliers", "noise", "noise_scaling"),
    ),
    ("batchnorm", "Batch normalisation", ("stem-batchnorm",), ("batchnorm",)),
    ("truth", "True Hessian", ("true_hessian",), ("true_hessian",)),
    ("self-test", "Self-test of the estimators", ("self_test",), ("self_test",)),
    (
        "shrinkage",
        "Dependence on the sample size",
        ("shrinkage",),
        ("shrinkage", "augmentation"),
    ),
    ("papers", "Published numbers", (), ("papers",)),
)
# Nobody misses these figures and tables where they are absent.
_OPTIONAL = {
    "stem-augmented", "stem-noise", "stem-ggn", "distributions", "overlaps", "noise", "self_test",
    "outliers", "noise_scaling", "batch_predictions", "augmentation", "stem-batchnorm", "batchnorm",
}  # fmt: skip
_ENDS = {"boxplot-largest": 0, "boxplot-smallest": 1}


def render(runs: Sequence[RunReport], *, title: str, template_folder: str | Path) -> str:
    """Make one HTML page that needs nothing else: no other file and no network.

    Parameters
    ----------
    runs
        As `collect` returns them.
    title
        Heading of the page.
    template_folder
        Holds `report.html.j2`, a caption `{kind}.md` for each kind of figure (`stem-batch.md`, ...)
        and `table-{name}.md` for each table. A caption that is not there is left out.

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
        wording.number,
        wording.with_error,
        wording.count,
        wording.percent,
        wording.times,
    ):
        engine.filters[function.__name__] = function
    return engine


def _run_view(engine: Environment, run: RunReport, anchor: str) -> dict[str, Any]:
    named = {name: captions.parse(name) for name in run.figures}
    sections = []
    for key, heading, kinds, tables in SECTIONS:
        figures = [
            _figure_view(engine, run, name, parsed)
            for name, parsed in sorted(named.items(), key=lambda item: _place(item[1], kinds))
            if parsed.kind in kinds
        ]
        absent = [kind for kind in kinds if kind not in _OPTIONAL | {f["kind"] for f in figures}]
        sections.append(
            {
                "key": key,
                "anchor": f"{anchor}-{key}",
                "heading": heading,
                "figures": figures,
                "tables": [_table_view(engine, run, t) for t in tables if t in run.tables],
                "absent": absent
                + [f"table {t}" for t in tables if t not in run.tables and t not in _OPTIONAL],
            }
        )
    sections.append(_other_section(engine, run, named, f"{anchor}-other"))
    num_examples = run.summary.get("num_examples")
    return {
        "name": run.name,
        "anchor": anchor,
        "facts": _facts(run),
        "headlines": findings.headlines(run.tables, num_examples),
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


def _place(name: captions.FigureName, kinds: tuple[str, ...]) -> tuple[Any, ...]:
    """Order figures by epoch, then by kind, then by size; the ends of one size side by side."""
    numbers = name.numbers
    kind = kinds.index(name.kind) if name.kind in kinds else len(kinds)
    size = next((numbers[key] for key in captions.SIZES if key in numbers), 0)
    if name.kind in _ENDS:
        return (size, _ENDS[name.kind])
    return (numbers.get("epoch", 0), kind, size)


def _other_section(
    engine: Environment,
    run: RunReport,
    named: dict[str, captions.FigureName],
    anchor: str,
) -> dict[str, Any]:
    known_kinds = {kind for _, _, kinds, _ in SECTIONS for kind in kinds}
    known_tables = {table for *_, tables in SECTIONS for table in tables}
    return {
        "key": "other",
        "anchor": anchor,
        "heading": "Further results",
        "figures": [
            _figure_view(engine, run, name, parsed)
            for name, parsed in sorted(named.items())
            if parsed.kind not in known_kinds
        ],
        "tables": [
            _table_view(engine, run, name) for name in run.tables if name not in known_tables
        ],
        "absent": [],
    }


def _figure_view(
    engine: Environment, run: RunReport, name: str, parsed: captions.FigureName
) -> dict[str, Any]:
    path = Path(run.figures[name])
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    facts = captions.figure_facts(run, parsed)
    return {
        "name": name,
        "kind": parsed.kind,
        "epoch": parsed.numbers.get("epoch"),
        "source": f"data:{_MEDIA_TYPES[path.suffix]};base64,{content}",
        "caption": captions.render_caption(engine, parsed.kind, facts),
    }


def _table_view(engine: Environment, run: RunReport, name: str) -> dict[str, Any]:
    facts = captions.figure_facts(run, captions.FigureName(name, {}))
    caption = captions.render_caption(engine, f"table-{name}", facts)
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
        return wording.MISSING
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, Integral):
        whole = int(value)
        return wording.count(whole) if whole >= 10_000 else str(whole)
    return wording.number(float(value), 4) if isinstance(value, Real) else str(value)


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
        ("Precision", summary.get("precision")),
        ("Lanczos steps", summary.get("steps")),
        ("Probes", summary.get("probes")),
        ("Device", summary.get("device")),
    ]
    if run.training is not None and not run.training.empty:
        accuracy = run.training["test_accuracy"].iloc[-1]
        facts.append(("Final test accuracy", wording.percent(accuracy)))
    return [
        (label, wording.count(value) if isinstance(value, int) else str(value))
        for label, value in facts
        if value not in (None, "")
    ]


def _name(settings: Any) -> Any:
    return settings.get("name") if isinstance(settings, dict) else settings
