"""Random matrix theory: the laws of pure noise, and what noise does to isolated eigenvalues."""

from truehessian.rmt.marchenko_pastur import MarchenkoPastur
from truehessian.rmt.semicircle import Semicircle
from truehessian.rmt.spiked import (
    bbp_threshold,
    outlier,
    overlap,
    spike_of_outlier,
    weyl_bound,
)

__all__ = [
    "MarchenkoPastur",
    "Semicircle",
    "bbp_threshold",
    "outlier",
    "overlap",
    "spike_of_outlier",
    "weyl_bound",
]
