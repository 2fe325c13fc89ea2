"""The true Hessian: estimates, their self-test, and how extremes depend on the sample size."""

from collections.abc import Mapping
from typing import Any

from truehessian.report.contents.base import Content, Figure, Table
from truehessian.report.run import RunReport


def _last_epoch(run: RunReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    frame = run.tables.get("shrinkage")
    return {"epoch": None if frame is None or frame.empty else frame["epoch"].max()}


TRUE_HESSIAN = Content(
    "true_hessian", "truth", figure=Figure(("variance",)), table=Table(("variance",))
)
SELF_TEST = Content(
    "self_test",
    "self-test",
    figure=Figure(("self_test",)),
    table=Table(("self_test",)),
    optional=True,
)
SHRINKAGE = Content("shrinkage", "shrinkage", figure=Figure(), table=Table(), facts=_last_epoch)
AUGMENTATION = Content(
    "augmentation", "shrinkage", table=Table(needs=("augmentation",)), optional=True
)
