"""Curvature along gradients, beside the limits of the learning rate."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Made, Table
from truehessian.report.run import RunReport
from truehessian.report.tables import select


def _make(files: Mapping[str, list[str]]) -> Made:
    from truehessian.report.plots import sharpness as plots
    from truehessian.report.tables.extremes import read_epochs

    frame = read_epochs(files["sharpness"]).sort_values(
        ["epoch", "batch_size"], na_position="first", ignore_index=True
    )
    frame = frame.astype({"batch_size": "Int64"})
    return Made(frame, plots.sharpness(frame, "Curvature along gradients"))


def _facts(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Find the rows of the last epoch: of all the data, and of the smallest batches."""
    frame = run.tables.get("sharpness")
    if frame is None or frame.empty:
        return {"epoch": None}
    last = select.last_epoch(frame)
    full, batches = last[last["batch_size"].isna()], last.dropna(subset="batch_size")
    return {
        "epoch": last["epoch"].iloc[0],
        "full": full.iloc[0].to_dict(),
        "batch": batches.sort_values("batch_size").iloc[0].to_dict(),
    }


SHARPNESS = Content(
    "sharpness",
    "extremes",
    figure=Figure(needs=("sharpness",)),
    table=Table(needs=("sharpness",)),
    optional=True,
    caption=(
        "**Curvature along gradients**: the mean over batches of gᵀHg/|g|² with each batch's own "
        "gradient and Hessian (batch sharpness, ± one standard error), and the same of all the "
        "data, beside their largest eigenvalue. Lines are limits of the learning rate η and the "
        "momentum β: 2/η, 2(1 − β)/η for small batches, 2(1 + β)/η without noise."
        "{% if epoch is not none %} "
        "At epoch {{ epoch }} it is {{ batch.sharpness | number(3) }} ± "
        "{{ batch.sharpness_standard_error | number(2) }} in batches of "
        "{{ batch.batch_size | int }}, {{ full.sharpness | number(3) }} along the gradient of all "
        "the data, whose largest eigenvalue is {{ full.largest | number(3) }}."
        "{% if full.limit == full.limit %} The limit for small batches is "
        "{{ full.limit_small_batches | number(3) }}, without noise "
        "{{ full.limit_large_batches | number(3) }}.{% endif %}{% endif %}"
    ),
    table_caption=(
        "**The same in numbers.** Rows without a batch size are of all the data. `ratio_of_means`: "
        "mean of gᵀHg over that of |g|². `interaction_aware`: the same with the Hessian of all the "
        "data, Tr(HS)/Tr S with the second moment S of the batches' gradients; the Hessians of "
        "other batches stand for it. `share_inside`: share of a gradient's square within the "
        "leading `dimension` Ritz vectors, of which a random direction has `chance`. "
        "`preconditioned`: largest eigenvalue in the geometry of Adam, where its state was given."
    ),
    title="Curvature along gradients",
    facts=_facts,
    make=_make,
    inputs={"sharpness": "sharpness/{epoch}.csv"},
)
