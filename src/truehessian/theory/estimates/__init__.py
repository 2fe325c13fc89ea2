"""Estimates of the true Hessian, the mean over the data distribution, from samples.

Three ways: invert a random-matrix prediction, measure the curvature on examples that had no part
in the weights or in the direction, and correct an extreme by what cross-validation shows of its
bias. A fourth, following an eigenvalue as the sample grows, has a module of its own, `shrinkage`.

The estimators that the self-test tries are listed here in the order in which they are shown; each
is a `base.Estimator`.
"""

from truehessian.registry import Registry

ESTIMATORS = Registry(
    "estimator",
    {
        "naive": "truehessian.theory.estimates.sample:NAIVE",
        "goe": "truehessian.theory.estimates.inversion:GOE",
        "directional": "truehessian.theory.estimates.inversion:DIRECTIONAL",
        "held_out": "truehessian.theory.estimates.sample:HELD_OUT",
        "extrapolated": "truehessian.theory.estimates.sample:EXTRAPOLATED",
        "cross_validated": "truehessian.theory.estimates.cross_validation:CROSS_VALIDATED",
    },
)
