"""Captions of figures and tables: Markdown templates, filled with the numbers of the run."""

import re
from typing import Any, NamedTuple

import markdown
import pandas as pd
from jinja2 import Environment, TemplateNotFound
from markupsafe import Markup

from truehessian.report import findings
from truehessian.report.papers import published
from truehessian.report.run import RunReport
from truehessian.report.tables.extremes import first_folds
from truehessian.spectra.spectrum import ENDS

# What the numbers in a figure's name mean, in order.
_NUMBERS = {
    "stem-full": ("epoch",),
    "stem-ggn": ("epoch",),
    "stem-batch": ("batch_size", "epoch"),
    "stem-noise": ("batch_size", "epoch"),
    "stem-augmented": ("factor", "epoch"),
    "stem-batchnorm": ("chunk_size", "epoch"),
    "boxplot-largest": ("batch_size",),
    "boxplot-smallest": ("batch_size",),
}
SIZES = ("batch_size", "factor", "chunk_size")


class FigureName(NamedTuple):
    """A figure's name taken apart: `stem-batch-32-5` is a `stem-batch` of B = 32 at epoch 5."""

    kind: str
    numbers: dict[str, int]


def parse(name: str) -> FigureName:
    """Take a figure's name apart; a name of no known kind is a kind of its own."""
    match = re.fullmatch(r"([a-z_-]+?)((?:-\d+)+)", name)
    if match is None:
        return FigureName(name, {})
    kind, values = match[1], [int(value) for value in match[2].split("-")[1:]]
    keys = _NUMBERS.get(kind, ())
    if len(keys) != len(values):
        return FigureName(name, {})
    return FigureName(kind, dict(zip(keys, values, strict=True)))


def render_caption(environment: Environment, template: str, facts: dict[str, Any]) -> Markup:
    """Fill in `{template}.md` and turn it into HTML; empty if there is no such template."""
    try:
        text = environment.get_template(f"{template}.md").render(facts)
    except TemplateNotFound as error:
        if error.name != f"{template}.md":
            raise
        return Markup()
    # The template engine has escaped every value; what remains of HTML is the template's own.
    return Markup(markdown.markdown(text, output_format="html"))  # noqa: S704


def figure_facts(run: RunReport, name: FigureName) -> dict[str, Any]:
    """Compute what a caption may say of a figure; what is unknown is None or empty."""
    facts: dict[str, Any] = {"run": run, "summary": run.summary, **name.numbers}
    if name.kind == "stem-batchnorm":
        return facts | {"extremes": _by_normalisation(run, **name.numbers)}
    if name.kind.startswith("stem-"):
        return facts | _stem_facts(run, name)
    if name.kind.startswith("boxplot-"):
        return facts | _boxplot_facts(run, name)
    if name.kind == "variance":
        return facts | _variance_facts(run.tables.get("variance"))
    if name.kind == "theory_vs_empirical":
        return facts | _theory_facts(run.tables.get("theory_vs_empirical"))
    if name.kind == "learning_curves":
        last = None if run.training is None or run.training.empty else run.training.iloc[-1]
        return facts | {"last": last}
    frame = run.tables.get(name.kind, pd.DataFrame())
    return facts | {"epoch": frame["epoch"].max() if "epoch" in frame and len(frame) else None}


def _stem_facts(run: RunReport, name: FigureName) -> dict[str, Any]:
    kind = name.kind.removeprefix("stem-")
    operator = kind if kind in ("ggn", "noise") else "hessian"
    here = _extremes(run, operator, **name.numbers)
    return {
        "here": here,
        "full": _extremes(run, "hessian", epoch=name.numbers.get("epoch")),
        "num_examples": here["largest"]["num_examples"] if here else None,
    }


def _extremes(
    run: RunReport,
    operator: str,
    epoch: int | None = None,
    batch_size: int | None = None,
    factor: int | None = None,
) -> dict[str, pd.Series]:
    """Find the rows of both ends, of the first fold if there are several."""
    frame = run.tables.get("extremal_ritz_values")
    if frame is None:
        return {}
    chosen = frame[
        (frame["operator"] == operator) & (frame["split"] == "train") & (frame["epoch"] == epoch)
    ]
    for column, value in (("batch_size", batch_size), ("factor", factor)):
        missing = chosen[column].isna()
        chosen = chosen[missing if value is None else chosen[column] == value]
    rows = {end: chosen[chosen["end"] == end] for end in ENDS}
    if any(frame.empty for frame in rows.values()):
        return {}
    return {end: frame.sort_values("fold").iloc[0] for end, frame in rows.items()}


def _by_normalisation(run: RunReport, chunk_size: int, epoch: int) -> dict[str, Any]:
    """Find the rows of both ends in the table that compares modes of normalisation."""
    frame = run.tables.get("batchnorm")
    if frame is None:
        return {}
    chosen = frame[(frame["chunk_size"] == chunk_size) & (frame["epoch"] == epoch)]
    return {str(row["end"]): row for _, row in chosen.iterrows()}


def _boxplot_facts(run: RunReport, name: FigureName) -> dict[str, Any]:
    end = name.kind.removeprefix("boxplot-")
    frame = run.tables.get("extremal_ritz_values")
    facts: dict[str, Any] = {"end": end, "folds": None, "median": None}
    if frame is None:
        return facts
    chosen = frame.query("operator == 'hessian' and split == 'train' and end == @end")
    batches = first_folds(chosen[chosen["batch_size"] == name.numbers["batch_size"]])
    full = chosen[chosen["batch_size"].isna() & chosen["factor"].isna()]
    whole = full.set_index("epoch")["value"]
    medians = batches.groupby("epoch")["value"].median()
    shifts = (medians - whole).abs().dropna()
    if shifts.empty:
        return facts
    epoch: Any = shifts.idxmax()
    return facts | {
        "folds": int(batches.groupby("epoch").size().max()),
        "epoch": epoch,
        "median": medians[epoch],
        "full": whole[epoch],
    }


def _variance_facts(frame: pd.DataFrame | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "published": _implied_variances(),
        "epoch": None,
        "along": {},
        "element": None,
    }
    if frame is None or frame.empty:
        return facts
    last = frame[frame["epoch"] == frame["epoch"].max()]
    kinds = last["direction"].where(~last["direction"].str.startswith("random-"), "random")
    along = last.groupby(kinds)["variance"].mean()
    element = None
    if "element_variance" in last:
        random = last["direction"].str.startswith("random-")
        element = last.loc[random, "element_variance"].mean()
    return facts | {"epoch": last["epoch"].iloc[0], "along": along.to_dict(), "element": element}


def _implied_variances() -> list[dict[str, Any]]:
    """P σ² that published predictions imply, once for each network."""
    frame = published.load()
    chosen = frame[
        (frame["quantity"] == "isotropic_variance") & (frame["status"] == published.IMPLIED)
    ]
    records: Any = chosen.drop_duplicates("architecture").to_dict("records")
    return records


def _theory_facts(frame: pd.DataFrame | None) -> dict[str, Any]:
    if frame is None or frame.empty:
        return {"folds": None, "weyl": None, "chosen": None}
    shift = (frame["batch_mean"] - frame["full"]).abs()
    weyl = ((frame["weyl"] - frame["full"]).abs() / shift).median() if "weyl" in frame else None
    return {
        "folds": sorted(frame["folds"].unique()),
        "weyl": None if weyl is None or pd.isna(weyl) else weyl,
        "chosen": findings.prediction_errors(frame).get("chosen", pd.Series(dtype=float)).median(),
    }
