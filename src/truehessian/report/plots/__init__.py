"""Figures: arrays and DataFrames in, matplotlib `Figure` out, and a deterministic `save`.

One style for all: colours and markers mean the same in every figure, text is 8 to 9 pt at the
printed size, and no figure touches the global state of pyplot.
"""

from truehessian.report.plots.curvature import shrinkage, true_hessian
from truehessian.report.plots.prediction import theory_vs_empirical, variance
from truehessian.report.plots.sampling import distributions, noise, overlaps
from truehessian.report.plots.self_test import self_test
from truehessian.report.plots.spectra import boxplot, stacked_stems, stem
from truehessian.report.plots.style import save
from truehessian.report.plots.training import learning_curves

__all__ = [
    "boxplot",
    "distributions",
    "learning_curves",
    "noise",
    "overlaps",
    "save",
    "self_test",
    "shrinkage",
    "stacked_stems",
    "stem",
    "theory_vs_empirical",
    "true_hessian",
    "variance",
]
