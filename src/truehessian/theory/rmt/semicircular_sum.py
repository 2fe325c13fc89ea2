"""Free additive convolution of a discrete spectrum with a semicircle.

The law of A + X, where A has a known spectrum μ and X is independent symmetric noise of scale σ.
With g the Stieltjes transform of the sum and g_A that of μ,

    g(z) = g_A(ω(z)),    ω(z) = z - σ² g(z),    z = H(ω) = ω + σ² g_A(ω):

ω is the subordination function. On the real axis it is known in closed form up to one monotone
equation (Biane 1997), so that density, distribution function and edges need neither an offset from
the axis nor an integration. Write v(u) for the height of the curve ω(ℝ) over u, the root of

    ∫ dμ(λ) / ((u - λ)² + v²) = 1/σ²,

or 0 where the left side is smaller for every v. Then x(u) = u + σ² Re g_A(u + i v(u)) increases,
and the density at x(u) is v(u) / (π σ²).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise

from truehessian.theory.rmt import curve
from truehessian.theory.rmt.fixed_point import solve_fixed_point
from truehessian.theory.rmt.measure import DiscreteMeasure


@dataclass(frozen=True, eq=False)
class SemicircularSum:
    """Law of a matrix with spectrum `bulk` plus a free semicircular element.

    Parameters
    ----------
    bulk
        Spectrum without noise. Isolated eigenvalues whose share of the mass vanishes in the limit
        do not belong to it: ask `outlier` for those. Left in, each becomes a narrow band.
    scale
        Scale of the noise, at least 0, in units of the eigenvalues; 0 leaves the bulk as it is.

    Raises
    ------
    ValueError
        `scale` is negative or not finite.

    References
    ----------
    Biane (1997), Indiana University Mathematics Journal 46(3), 705-718, Lemmas 2-4 and
    Corollaries 2-4; Voiculescu (1986), Journal of Functional Analysis 66(3), 323-346. The
    true-Hessian paper (Eqs. 12-17) is the case of a bulk at 0.
    """

    bulk: DiscreteMeasure
    scale: float

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and math.isfinite(self.scale)):
            raise ValueError(f"scale must be finite and at least 0, got {self.scale}")

    @cached_property
    def hidden(self) -> NDArray:
        """Intervals of spikes that do not show, shape (J, 2): where ∫ dμ/(θ - λ)² > 1/scale².

        Their ends are the thresholds of the transition; every node lies in one of them.
        """
        if self.scale == 0:
            return np.column_stack([self.bulk.nodes, self.bulk.nodes])
        return curve.hidden_intervals(self.bulk, self.scale)

    @cached_property
    def support(self) -> NDArray:
        """Intervals that carry the mass, ascending, shape (J, 2); points for scale 0."""
        if self.scale == 0:
            return self.hidden
        return curve.abscissa(self.hidden.ravel(), self.bulk, self.scale).reshape(-1, 2)

    @property
    def edges(self) -> tuple[float, float]:
        """Left and right end of the support."""
        return float(self.support[0, 0]), float(self.support[-1, 1])

    @property
    def atoms(self) -> tuple[NDArray, NDArray]:
        """Locations and masses of the atoms: none, unless the scale is 0."""
        if self.scale == 0:
            return self.bulk.atoms
        return np.empty(0), np.empty(0)

    def subordination(self, x: ArrayLike) -> NDArray:
        """Boundary value ω(x + i0) = x - scale² g(x + i0) at real `x`, complex128, same shape.

        Real outside the support, where it is the spike that would show at `x`.
        """
        x = np.asarray(x, dtype=np.float64)
        flat = x.reshape(-1)
        if self.scale == 0:
            return x.astype(np.complex128)
        known = np.isfinite(flat)
        u, above = flat.copy(), np.where(np.isnan(flat), np.nan, 0)
        u[known] = self._foot(flat[known])
        above[known] = np.where(
            self._inside(flat[known]), curve.height(u[known], self.bulk, self.scale), 0
        )
        return (u + 1j * above).reshape(x.shape)

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = ∫ ρ(λ) / (z - λ) dλ, on the branch with g ~ 1/z.

        Parameters
        ----------
        z
            Points off the support, any shape, real or complex.

        Returns
        -------
        NDArray
            Same shape; float64 for real `z`, complex128 for complex. Complex ones by fixed-point
            iteration of ω = z - scale² g_A(ω), real ones in closed form.

        Raises
        ------
        ValueError
            A real `z` lies inside the support, where the transform jumps.
        """
        z = np.asarray(z)
        if np.iscomplexobj(z):
            return self.bulk.stieltjes(self._omega(z))
        if np.any(self._inside(z.reshape(-1))):
            raise ValueError(
                f"z must lie outside the support {self.support.tolist()}, got a real value "
                "inside; add a small imaginary part"
            )
        return self.bulk.stieltjes(self.subordination(z).real)

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Give the derivative g'(z) = g_A'(ω) / (1 + scale² g_A'(ω)), for `z` as in `stieltjes`."""
        z = np.asarray(z)
        omega = z - self.scale**2 * self.stieltjes(z)
        slope = self.bulk.stieltjes_derivative(omega)
        return slope / (1 + self.scale**2 * slope)

    def self_energy(self, z: ArrayLike) -> NDArray:
        """Self-energy z - 1/g(z) = R(g(z)), precise also far away; `z` as in `stieltjes`."""
        z = np.asarray(z)
        g = self.stieltjes(z)
        return self.bulk.self_energy(z - self.scale**2 * g) + self.scale**2 * g

    def density(self, x: ArrayLike) -> NDArray:
        """Density at `x`, same shape, float64; zero outside the support.

        Raises
        ------
        ValueError
            The scale is 0, which leaves atoms alone.
        """
        if self.scale == 0:
            raise ValueError("scale must be positive for a density, got 0; ask for the cdf")
        return self.subordination(x).imag / (math.pi * self.scale**2)

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`, same shape, float64; from the potential, without integration."""
        if self.scale == 0:
            return self.bulk.cdf(x)
        x = np.asarray(x, dtype=np.float64)
        finite = np.where(np.isinf(x), np.where(x > 0, self.edges[1], self.edges[0]), x)
        omega = self.subordination(finite)
        above = self._potential(finite, omega).imag / math.pi
        return np.clip(1 - above, 0, 1)

    def log_potential(self, z: ArrayLike) -> NDArray:
        """Potential ∫ log(z - λ) ρ(λ) dλ = Φ_A(ω) + scale² g² / 2, in the upper half-plane."""
        z = np.asarray(z, dtype=np.complex128)
        return self._potential(z, self._omega(z))

    def outlier(self, spike: ArrayLike) -> NDArray:
        """Where an eigenvalue of the matrix without noise, beside its bulk, shows in the sum.

        Parameters
        ----------
        spike
            Eigenvalue θ of vanishing mass, any shape.

        Returns
        -------
        NDArray
            θ + scale² g_A(θ) outside the intervals `hidden`. Inside one, the edge of its band that
            a spike beyond all of its nodes sticks to, and NaN for a spike between its nodes, which
            is lost in the band; float64.

        References
        ----------
        Capitaine, Donati-Martin, Féral & Février (2011), Electronic Journal of Probability 16,
        1750-1792; for a bulk at 0 the true-Hessian paper, Eqs. 16-17.
        """
        spike = np.asarray(spike, dtype=np.float64)
        flat = spike.reshape(-1)
        shown, band = self._shown(flat)
        place = np.where(np.isnan(flat), flat, self._stuck(flat, band))
        place[shown] = flat[shown] + self.scale**2 * self.bulk.stieltjes(flat[shown])
        return place.reshape(spike.shape)

    def overlap(self, spike: ArrayLike) -> NDArray:
        """Squared overlap of the outlier's eigenvector with the direction of its spike.

        Parameters
        ----------
        spike
            Eigenvalue θ of vanishing mass, any shape.

        Returns
        -------
        NDArray
            1 / ω'(outlier) = 1 + scale² g_A'(θ) = 1 - scale² ∫ dμ/(θ - λ)² outside the intervals
            `hidden`, 0 inside; float64.

        References
        ----------
        Capitaine (2013), Journal of Theoretical Probability 26(3), 595-648.
        """
        spike = np.asarray(spike, dtype=np.float64)
        flat = spike.reshape(-1)
        shown, _ = self._shown(flat)
        squared = np.where(np.isnan(flat), flat, 0.0)
        squared[shown] = 1 + self.scale**2 * self.bulk.stieltjes_derivative(flat[shown])
        return squared.reshape(spike.shape)

    def spike_of_outlier(self, outlier: ArrayLike) -> NDArray:
        """Recover the spike ω(outlier) from where it shows; NaN at or inside an edge."""
        outlier = np.asarray(outlier, dtype=np.float64)
        lost = self._inside(outlier) | np.isin(outlier, self.support)
        return np.where(lost, np.nan, self.subordination(outlier).real)

    def _shown(self, spike: NDArray) -> tuple[NDArray, NDArray]:
        """Whether spikes (G,) lie off the hidden intervals, and the next interval to the right."""
        band = np.searchsorted(self.hidden[:, 1], spike)
        start = np.append(self.hidden[:, 0], np.inf)[band]
        return spike < start, np.minimum(band, len(self.hidden) - 1)

    def _stuck(self, spike: NDArray, band: NDArray) -> NDArray:
        """Edges that hidden spikes (G,) in these bands stick to, NaN between the band's nodes."""
        nodes = self.bulk.nodes
        top = nodes[np.searchsorted(nodes, self.hidden[band, 1], side="right") - 1]
        bottom = nodes[np.searchsorted(nodes, self.hidden[band, 0])]
        right, left = self.support[band, 1], self.support[band, 0]
        return np.where(spike >= top, right, np.where(spike <= bottom, left, np.nan))

    def _inside(self, x: NDArray) -> NDArray:
        """Whether real `x` lies strictly between the ends of an interval of the support."""
        ends = self.support.ravel()
        index = np.searchsorted(ends, x)
        return (index % 2 == 1) & (ends[np.minimum(index, len(ends) - 1)] != x)

    def _foot(self, x: NDArray) -> NDArray:
        """Foot u of the curve's point that is mapped to finite real `x`, shape (G,)."""
        ends, thresholds = self.support.ravel(), self.hidden.ravel()
        index = np.searchsorted(ends, x)
        low = np.where(index == 0, x, thresholds[np.maximum(index - 1, 0)])
        last = index == len(ends)
        high = np.where(last, x, thresholds[np.minimum(index, len(ends) - 1)])
        if not x.size:
            return x

        def excess(u: NDArray, x: NDArray) -> NDArray:
            return curve.abscissa(u, self.bulk, self.scale) - x

        found = elementwise.find_root(excess, (low, high), args=(x,))
        # Without a change of sign x lies within rounding of an end of its bracket.
        nearer = np.where(x - low < high - x, low, high)
        return np.where(found.success, found.x, nearer)

    def _potential(self, z: NDArray, omega: NDArray) -> NDArray:
        """Potential at z, given ω; its derivative is g because ω + scale² g_A(ω) = z."""
        potential = self.bulk.log_potential(omega)
        return potential + (z - omega) ** 2 / (2 * self.scale**2) if self.scale else potential

    def _omega(self, z: NDArray) -> NDArray:
        """Subordination function at complex z, same shape; on the real axis the upper limit."""
        flat = z.reshape(-1)
        omega = np.empty(flat.shape, dtype=np.complex128)
        real = flat.imag == 0
        omega[real] = self.subordination(flat[real].real)
        off = flat[~real]
        upper = np.where(off.imag < 0, off.conj(), off)

        def step(w: NDArray, z: NDArray) -> tuple[NDArray, NDArray]:
            slope = -(self.scale**2) * self.bulk.stieltjes_derivative(w)
            return z - self.scale**2 * self.bulk.stieltjes(w), slope

        found = solve_fixed_point(step, upper, self.scale or 1.0)
        omega[~real] = np.where(off.imag < 0, found.conj(), found)
        return omega.reshape(z.shape)
