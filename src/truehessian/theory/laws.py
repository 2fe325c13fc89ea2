"""Laws of noise, fitted to a measured one: its distribution, and how it shrinks with the sample."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS

from truehessian.theory import rmt

CONFIDENCE = 0.95  # of the intervals of slopes
# What is said of a measured law: its moments, two laws of the same, and how far each is from it.
FITTED = (
    "skewness", "kurtosis", "semicircle_scale", "semicircle_distance", "marchenko_pastur_ratio",
    "marchenko_pastur_variance", "marchenko_pastur_distance", "better",
)  # fmt: skip
_LEVELS = 2000  # quantiles that stand for a law


def fit_laws(nodes: NDArray, weights: NDArray) -> dict[str, Any]:
    """Fit a semicircle and a shifted Marchenko-Pastur law to a measure by their moments.

    Parameters
    ----------
    nodes, weights
        Shape (K,); the weights sum to 1.

    Returns
    -------
    dict
        The entries of `FITTED`; NaN where all nodes are one. A
        Marchenko-Pastur law of ratio c and variance v has the central moments c v² and c² v³, so
        that c is the squared skewness; a negative skewness is met by the mirrored law, whose
        variance is given as negative.
    """
    mean = float(weights @ nodes)
    second, third, fourth = (float(weights @ (nodes - mean) ** order) for order in (2, 3, 4))
    found: dict[str, Any] = dict.fromkeys(FITTED, math.nan) | {"better": "undecided"}
    if not second > 0:
        return found
    scale, skewness = math.sqrt(second), third / second**1.5
    semicircle = distance(nodes, weights, rmt.Semicircle(mean, scale)) / scale
    found |= {"skewness": skewness, "kurtosis": fourth / second**2, "semicircle_scale": scale}
    found |= {"semicircle_distance": semicircle, "better": "semicircle"}
    # Below this ratio the law is a semicircle to six digits, and its moments cancel.
    if skewness**2 < 1e-6:
        return found
    law = rmt.MarchenkoPastur(skewness**2, scale / abs(skewness))
    sign = math.copysign(1.0, skewness)
    apart = distance(sign * (nodes - mean) + law.variance, weights, law) / scale
    found |= {
        "marchenko_pastur_ratio": law.ratio,
        "marchenko_pastur_variance": sign * law.variance,
        "marchenko_pastur_distance": apart,
    }
    return found | {"better": "semicircle" if semicircle <= apart else "marchenko_pastur"}


def distance(nodes: NDArray, weights: NDArray, law: rmt.Semicircle | rmt.MarchenkoPastur) -> float:
    """Measure how far a law is from a discrete measure: Wasserstein's distance of first order.

    The mean distance by which mass has to be moved, in the unit of the nodes. Kolmogorov's would
    compare the heights of jumps: an atom that is off by rounding would count as much as one that
    is not there.

    Parameters
    ----------
    nodes, weights
        Shape (K,); the weights sum to 1.
    law
        Anything with a quantile function.
    """
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    return float(stats.wasserstein_distance(nodes, law.quantile(levels), u_weights=weights))


def slope_within(x: ArrayLike, y: ArrayLike, groups: pd.Series) -> tuple[float, float, float]:
    """Fit a common slope to lines with an intercept for each group, by least squares.

    Parameters
    ----------
    x, y
        Shape (n,).
    groups
        What group each value belongs to, shape (n,).

    Returns
    -------
    slope, low, high
        With a 95 % interval from Student's t distribution.
    """
    intercepts = pd.get_dummies(groups.to_numpy(), dtype=float).to_numpy()
    fit = OLS(np.asarray(y, float), np.column_stack([np.asarray(x, float), intercepts])).fit()
    slope = float(fit.params[0])
    if fit.df_resid < 1:
        return slope, math.nan, math.nan
    low, high = fit.conf_int(1 - CONFIDENCE)[0]
    return slope, float(low), float(high)
