"""Random matrix theory: laws of noise, free sums of spectra, and what noise does to eigenvalues.

Usable alone, on NumPy arrays: nothing else of this package and no PyTorch is imported.

One sign convention throughout: g(z) = ∫ dμ(λ) / (z - λ), so that g ~ 1/z far away.
"""

from truehessian.theory.rmt.free_sum import FreeSum
from truehessian.theory.rmt.inversion import (
    cdf_of,
    cdf_of_density,
    density_of,
    kolmogorov_distance,
    quantile_of,
)
from truehessian.theory.rmt.marchenko_pastur import MarchenkoPastur
from truehessian.theory.rmt.measure import DiscreteMeasure
from truehessian.theory.rmt.outliers import (
    covariance_outlier,
    covariance_overlap,
    covariance_threshold,
    deformed_outlier,
    deformed_overlap,
)
from truehessian.theory.rmt.semicircle import Semicircle
from truehessian.theory.rmt.semicircular_sum import SemicircularSum
from truehessian.theory.rmt.spiked import (
    bbp_threshold,
    outlier,
    overlap,
    spike_of_outlier,
    weyl_bound,
)

__all__ = [
    "DiscreteMeasure",
    "FreeSum",
    "MarchenkoPastur",
    "Semicircle",
    "SemicircularSum",
    "bbp_threshold",
    "cdf_of",
    "cdf_of_density",
    "covariance_outlier",
    "covariance_overlap",
    "covariance_threshold",
    "deformed_outlier",
    "deformed_overlap",
    "density_of",
    "kolmogorov_distance",
    "outlier",
    "overlap",
    "quantile_of",
    "spike_of_outlier",
    "weyl_bound",
]
