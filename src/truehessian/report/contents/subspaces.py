"""What the adaptive subspace holds of the noise, and what it took."""

from collections.abc import Mapping

from truehessian.report.contents.base import Content, Made, Table
from truehessian.report.tables import extremes


def _make(files: Mapping[str, list[str]]) -> Made:
    return Made(extremes.read_epochs(files["reached"]))


SUBSPACES = Content(
    "subspaces",
    "theory",
    table=Table(needs=("subspace",)),
    optional=True,
    table_caption=(
        "**The adaptive subspace**: the share of the noise along the outermost Ritz vectors of an "
        "end that was asked for, and that is `held` within as many further Ritz vectors and leak "
        "vectors as were taken for it, as far as the passes over the data reach. It is that of the "
        "means of groups of examples; of single examples' noise the same vectors hold less."
    ),
    title="What the adaptive subspace holds of the noise, and what it took",
    make=_make,
    inputs={"reached": "subspace/{epoch}.csv"},
)
