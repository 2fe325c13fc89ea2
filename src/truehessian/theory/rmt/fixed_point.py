"""Fixed points of analytic self-maps of the upper half-plane, by safeguarded Newton iteration."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Step = Callable[[NDArray, NDArray], tuple[NDArray, NDArray]]


_TOLERANCE = 1e-13  # largest residual |step(w, z) - w| relative to |w|
_ROUNDING = 1e-9  # residuals below may cease to fall for rounding
_MAX_STEPS = 1000  # at one height


def solve_fixed_point(step: Step, z: NDArray, height: float) -> NDArray:
    """Solve w = step(w, z) for each parameter z in the upper half-plane.

    An analytic self-map of the half-plane contracts its hyperbolic metric, so that plain iteration
    converges from everywhere, slowly where w comes near the real axis. A step of Newton's method
    takes its place wherever that stays in the half-plane, which holds no other fixed point, and
    halves the distance from its image. The parameters come down
    from a `height` at which this is easy, a decade at a time: where the map tends to the identity
    as z tends to the axis (two equal symmetric laws, at their centre), its residual alone would
    not tell one w from another.

    Parameters
    ----------
    step
        Elementwise map of two complex arrays of one shape, w and z; gives its values and their
        derivatives by w.
    z
        Parameters with positive imaginary parts, shape (G,).
    height
        Imaginary part to start from, of the order of the width of the spectrum.

    Returns
    -------
    NDArray
        Fixed points, shape (G,), complex128; NaN where z is NaN.

    Raises
    ------
    RuntimeError
        Some points do not converge.

    References
    ----------
    Belinschi & Bercovici (2007), Journal d'Analyse Mathématique 101, 357-365, Theorem 3.2.
    """
    solution = np.full(z.shape, complex(np.nan, np.nan))
    known = np.flatnonzero(np.isfinite(z))
    z = z[known]
    w = z + 1j * height
    scale = height
    while True:
        raised = z.real + 1j * np.maximum(z.imag, height)
        w = _iterate(step, raised, w, scale)
        if not np.any(z.imag < height):
            solution[known] = w
            return solution
        height /= 10


def _iterate(step: Step, z: NDArray, w: NDArray, height: float) -> NDArray:
    """Iterate from first guesses w, shape (G,), to the fixed points."""
    w = w.copy()
    active = np.arange(len(w))
    for _ in range(_MAX_STEPS):
        old, parameter = w[active], z[active]
        value, slope = step(old, parameter)
        newton = _newton(old, value, slope)
        after, _ = step(newton, parameter)
        progress = _distance(newton, after) < _distance(old, value) / 2
        residual, size = np.abs(value - old), np.abs(old)
        stuck = ~progress & (residual <= _ROUNDING * np.maximum(size, height))
        done = stuck | (residual <= _TOLERANCE * size)
        w[active] = np.where(done | progress, newton, value)
        active = active[~done]
        if not active.size:
            return w
    raise RuntimeError(
        f"subordination did not converge at {active.size} of {len(w)} points after {_MAX_STEPS} "
        "steps; move the points further from the real axis"
    )


def _newton(w: NDArray, value: NDArray, slope: NDArray) -> NDArray:
    """Newton's step from w in the disc (· - w) / (· - w̄), where the map has a slope of at most 1.

    Gives the plain iterate where the step would leave the half-plane.
    """
    span = value - w.conj()
    gap = 1 - slope * ((w - w.conj()) / span) ** 2
    target = (value - w) / span / np.where(gap == 0, 1, gap)
    usable = (gap != 0) & (np.abs(target) < 1)
    target = np.where(usable, target, 0)
    # w + (w - w̄) c / (1 - c), the point at c in the disc, without cancellation for small c.
    newton = w + (w - w.conj()) * (target / (1 - target))
    return np.where(usable & (newton.imag > 0), newton, value)


def _distance(first: NDArray, second: NDArray) -> NDArray:
    """Pseudo-hyperbolic distance in the half-plane, from 0 to 1, which the map diminishes."""
    return np.abs(first - second) / np.abs(first - second.conj())
