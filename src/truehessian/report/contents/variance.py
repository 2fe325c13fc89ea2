"""The variance of the Hessian over examples."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Table
from truehessian.report.papers import published
from truehessian.report.run import RunReport
from truehessian.report.tables import select


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Average the variance of the last epoch by kind of direction."""
    facts: dict[str, Any] = {
        "published": _implied_variances(),
        "epoch": None,
        "along": {},
        "element": None,
    }
    frame = run.tables.get("variance")
    if frame is None or frame.empty:
        return facts
    last = select.last_epoch(frame)
    random = select.along_random(last)
    kinds = last["direction"].where(~last.index.isin(random.index), "random")
    along = last.groupby(kinds)["variance"].mean()
    element = random["element_variance"].mean() if "element_variance" in last else None
    return facts | {"epoch": last["epoch"].iloc[0], "along": along.to_dict(), "element": element}


def _implied_variances() -> list[dict[str, Any]]:
    """P σ² that published predictions imply, once for each network."""
    frame = published.load()
    chosen = frame[
        (frame["quantity"] == "isotropic_variance") & (frame["status"] == published.IMPLIED)
    ]
    records: Any = chosen.drop_duplicates("architecture").to_dict("records")
    return records


VARIANCE = Content(
    "variance",
    "variance",
    figure=Figure(needs=("variance",)),
    table=Table(needs=("variance",), collected=True),
    facts=_facts,
)
