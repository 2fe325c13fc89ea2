"""The boundary curve of the free convolution with a semicircle, over the real axis.

Notation and source as in `semicircular_sum`: over each real u lies the point u + i v(u) of the
curve, and x(u) is where on the real axis it is mapped to.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import elementwise

from truehessian.theory.rmt.measure import DiscreteMeasure

_MAX_STEPS = 100


def height(u: NDArray, bulk: DiscreteMeasure, scale: float) -> NDArray:
    """Height v(u) ≥ 0 of the curve over real `u`, shape (G,).

    v² is the root s of 1/φ(s) = scale² with φ(s) = ∫ dμ(λ) / ((u - λ)² + s). The left side is
    concave and increasing in s: Newton's method climbs to the root from below.
    """
    return bulk.by_block(lambda difference: _height(difference, bulk.weights, scale), u)


def abscissa(u: NDArray, bulk: DiscreteMeasure, scale: float) -> NDArray:
    """Image x(u) = u + scale² Re g_A(u + i v(u)) on the real axis of real `u`, shape (G,)."""

    def shift(difference: NDArray) -> NDArray:
        square = _height(difference, bulk.weights, scale)[:, None] ** 2
        norm = difference**2 + square
        return np.divide(difference, norm, where=norm > 0, out=np.zeros_like(norm)) @ bulk.weights

    return u + scale**2 * bulk.by_block(shift, u)


def hidden_intervals(bulk: DiscreteMeasure, scale: float) -> NDArray:
    """Intervals of u where the curve leaves the axis, shape (J, 2): ∫ dμ/(u - λ)² > 1/scale².

    Every node lies in one of them. Scale must be positive.
    """
    nodes, weights = bulk.nodes, bulk.weights
    # The integral exceeds w/d² for a single node of weight w at distance d, and is below 1/d².
    reach = scale * np.sqrt(weights[[0, -1]])
    first = _threshold(nodes[:1] - scale, nodes[:1] - reach[:1], bulk, scale)
    last = _threshold(nodes[-1:] + scale, nodes[-1:] + reach[-1:], bulk, scale)
    # Between two nodes it is convex: a gap opens where its least value is small enough. The two
    # nodes alone bound it from below, which settles most pairs.
    roots = np.cbrt(weights)
    wide = (np.diff(nodes) / scale) ** 2 > (roots[1:] + roots[:-1]) ** 3
    low, high = nodes[:-1][wide], nodes[1:][wide]
    lowest = _lowest(low, high, bulk)
    open_ = _excess(lowest, bulk, scale) > 0
    low, high, lowest = low[open_], high[open_], lowest[open_]
    starts = np.concatenate([first, _threshold(lowest, high, bulk, scale)])
    ends = np.concatenate([_threshold(lowest, low, bulk, scale), last])
    return np.column_stack([starts, ends])


def _height(difference: NDArray, weights: NDArray, scale: float) -> NDArray:
    """Heights from the differences u - λ, shapes (G, K) -> (G,)."""
    square = difference**2
    s = np.maximum((weights * scale**2 - square).max(axis=1), 0)  # φ exceeds each of its terms
    s[np.isnan(s)] = np.nan
    active = np.arange(len(s))
    for _ in range(_MAX_STEPS):
        distance = square[active] + s[active, None]
        terms = weights / distance
        phi, slope = terms.sum(axis=1), (terms / distance).sum(axis=1)
        far = slope == 0  # beyond the range of floating-point numbers
        phi, slope = np.where(far, 1, phi), np.where(far, np.inf, slope)
        increment = np.maximum(scale**2 - 1 / phi, 0) * (phi / slope) * phi
        s[active] += increment
        active = active[increment > 4 * np.finfo(float).eps * s[active]]
        if not active.size:
            break
    return np.sqrt(s)


def _excess(u: NDArray, bulk: DiscreteMeasure, scale: float) -> NDArray:
    """1 / ∫ dμ/(u - λ)² - scale², finite also on the nodes and positive off the intervals."""
    with np.errstate(divide="ignore"):
        return 1 / bulk.integrate(lambda difference: difference**-2.0, u) - scale**2


def _threshold(outside: NDArray, inside: NDArray, bulk: DiscreteMeasure, scale: float) -> NDArray:
    """Roots of the excess between points outside and inside of an interval, shape (J,)."""
    if not outside.size:
        return outside
    found = elementwise.find_root(lambda u: _excess(u, bulk, scale), (outside, inside))
    # No change of sign: the interval is narrower than the spacing of floating-point numbers.
    return np.where(found.success, found.x, inside)


def _lowest(low: NDArray, high: NDArray, bulk: DiscreteMeasure) -> NDArray:
    """Where ∫ dμ/(u - λ)² is least between neighbouring nodes, shapes (J,)."""
    if not low.size:
        return low

    def slope(u: NDArray) -> NDArray:
        cubes = bulk.integrate(lambda difference: difference**-3.0, u)
        squares = bulk.integrate(lambda difference: difference**-2.0, u)
        return -cubes / squares**1.5  # bounded at the nodes

    margin = 1e-13 * (high - low)  # a ratio of weights of 1e39
    bracket = (
        np.maximum(low + margin, np.nextafter(low, high)),
        np.minimum(high - margin, np.nextafter(high, low)),
    )
    found = elementwise.find_root(slope, bracket)
    return np.where(found.success, found.x, np.where(slope(bracket[0]) > 0, *bracket))
