"""Free additive convolution of two arbitrary laws.

The law of A + U B Uᵀ for large matrices with known spectra, in general position to each other (U
uniformly distributed over the orthogonal matrices). With the self-energy Σ(w) = w - 1/g(w) of each
summand, the subordination functions solve

    g_A(ω_A) = g_B(ω_B) = g(z),    ω_A = z - Σ_B(ω_B),    ω_B = z - Σ_A(ω_A).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from truehessian.theory.rmt.fixed_point import solve_fixed_point
from truehessian.theory.rmt.inversion import cdf_of, density_of
from truehessian.theory.rmt.measure import Law

_SCAN = np.geomspace(1e-6, 1e6, 2401)


@dataclass(frozen=True, eq=False)
class FreeSum:
    """Law of the sum of two free elements with laws `first` and `second`.

    Parameters
    ----------
    first, second
        The summands' laws: `DiscreteMeasure`, `Semicircle`, `MarchenkoPastur`, or another sum.
        Where one is a semicircle and the other discrete, `SemicircularSum` is faster and exact.
    offset
        Distance from the real axis at which densities and distribution functions are evaluated,
        relative to the width of the sum's support. Edges are smeared over about √offset of it.

    Raises
    ------
    ValueError
        `offset` is not positive.

    References
    ----------
    Voiculescu (1986), Journal of Functional Analysis 66(3), 323-346 (R transforms add); Biane
    (1998), Mathematische Zeitschrift 227, 143-174 (subordination); Belinschi & Bercovici (2007),
    Journal d'Analyse Mathématique 101, 357-365 (the iteration).
    """

    first: Law
    second: Law
    offset: float = 1e-9

    def __post_init__(self) -> None:
        if not self.offset > 0:
            raise ValueError(f"offset must be positive, got {self.offset}")

    @property
    def atoms(self) -> tuple[NDArray, NDArray]:
        """Locations and masses of the atoms, shape (A,) each.

        There is one at a + b where the masses of a and b exceed 1 together, with the excess
        (Bercovici & Voiculescu 1998, Regularity questions for free convolution, Theorem 7.4).
        """
        (a, mass_a), (b, mass_b) = self.first.atoms, self.second.atoms
        excess = np.add.outer(mass_a, mass_b) - 1
        kept = excess > 1e-12
        return np.add.outer(a, b)[kept], excess[kept]

    @cached_property
    def edges(self) -> tuple[float, float]:
        """Left and right end of the support, where 1/g ceases to be monotone from outside."""
        return self._edge(-1.0), self._edge(1.0)

    def subordination(self, z: ArrayLike) -> tuple[NDArray, NDArray]:
        """Subordination functions ω_A(z) and ω_B(z) for z in the upper half-plane.

        Parameters
        ----------
        z
            Points with positive imaginary parts, any shape.

        Returns
        -------
        tuple[NDArray, NDArray]
            Complex128, same shape.

        Raises
        ------
        ValueError
            A `z` is not in the upper half-plane.
        RuntimeError
            The iteration does not converge, very close to the axis.
        """
        z = np.asarray(z, dtype=np.complex128)
        if np.any(z.imag <= 0):
            raise ValueError(f"z must have a positive imaginary part, got {z[z.imag <= 0][0]}")
        flat = z.reshape(-1)

        def step(w: NDArray, z: NDArray) -> tuple[NDArray, NDArray]:
            first, first_slope = _self_energy(self.first, w)
            second, second_slope = _self_energy(self.second, z - first)
            return z - second, second_slope * first_slope

        omega = solve_fixed_point(step, flat, self._width)
        return omega.reshape(z.shape), (flat - self.first.self_energy(omega)).reshape(z.shape)

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = ∫ dμ(λ) / (z - λ), at complex z off the real axis.

        Parameters
        ----------
        z
            Points of either half-plane, any shape.

        Returns
        -------
        NDArray
            Same shape, complex128.

        Raises
        ------
        ValueError
            A `z` is real.
        """
        z = np.asarray(z, dtype=np.complex128)
        upper, _ = self.subordination(np.where(z.imag < 0, z.conj(), z))
        transform = self.first.stieltjes(upper)
        return np.where(z.imag < 0, transform.conj(), transform)

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Give the derivative of g at z off the real axis: 1/g' = 1/g_A' + 1/g_B' + 1/g²."""
        z = np.asarray(z, dtype=np.complex128)
        omega, other = self.subordination(np.where(z.imag < 0, z.conj(), z))
        slopes = 1 / self.first.stieltjes_derivative(omega) + 1 / (
            self.second.stieltjes_derivative(other)
        )
        slope = 1 / (slopes + self.first.stieltjes(omega) ** -2.0)
        return np.where(z.imag < 0, slope.conj(), slope)

    def self_energy(self, z: ArrayLike) -> NDArray:
        """Self-energy z - 1/g(z), the sum of the summands' at their subordination functions."""
        z = np.asarray(z, dtype=np.complex128)
        omega, other = self.subordination(np.where(z.imag < 0, z.conj(), z))
        energy = self.first.self_energy(omega) + self.second.self_energy(other)
        return np.where(z.imag < 0, energy.conj(), energy)

    def log_potential(self, z: ArrayLike) -> NDArray:
        """Potential ∫ log(z - λ) dμ(λ) = Φ_A(ω_A) + Φ_B(ω_B) + log g, in the upper half-plane."""
        omega, other = self.subordination(z)
        potentials = self.first.log_potential(omega) + self.second.log_potential(other)
        return potentials + np.log(self.first.stieltjes(omega))

    def blue(self, w: ArrayLike) -> NDArray:
        """Blue function B_A(w) + B_B(w) - 1/w at real w ≠ 0: the R transforms add."""
        return self.first.blue(w) + self.second.blue(w) - 1 / np.asarray(w, dtype=np.float64)

    def density(self, x: ArrayLike) -> NDArray:
        """Density of the continuous part at `x`, same shape, float64; atoms are left out."""

        def continuous(z: NDArray) -> NDArray:
            places, masses = self.atoms
            return self.stieltjes(z) - (masses / (z[..., None] - places)).sum(-1)

        inside, side = self._within(x)
        density = density_of(continuous, inside, self.offset * self._width)
        return np.where(side == 0, np.maximum(density, 0), 0 * side)

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`, atoms included, same shape, float64."""
        x = np.asarray(x, dtype=np.float64)
        places, masses = self.atoms
        inside, side = self._within(x)

        def continuous(z: NDArray) -> NDArray:
            below = 1j * np.pi - np.log(z[..., None] - places)
            return self.log_potential(z) + (masses * below).sum(-1)

        jumps = (masses * (x[..., None] >= places)).sum(-1)
        mass = cdf_of(continuous, inside, self.offset * self._width) + jumps
        return np.where(side == 0, mass, np.maximum(side, 0))

    def _within(self, x: ArrayLike) -> tuple[NDArray, NDArray]:
        """Move points beyond the sum of the supports to its ends; tell on which side (±1) they lay.

        NaN goes to the left end, on side NaN.
        """
        x = np.asarray(x, dtype=np.float64)
        (low_a, high_a), (low_b, high_b) = _hull(self.first), _hull(self.second)
        low, high = low_a + low_b, high_a + high_b
        side = np.where(np.isnan(x), np.nan, np.where(x >= high, 1, np.where(x < low, -1, 0)))
        return np.clip(np.where(np.isnan(x), low, x), low, high), side

    @property
    def _width(self) -> float:
        """Width of the sum of the two supports, or 1 for two points."""
        (low_a, high_a), (low_b, high_b) = _hull(self.first), _hull(self.second)
        return (high_a - low_a) + (high_b - low_b) or 1.0

    def _edge(self, side: float) -> float:
        """End of the support on one `side`: the first extremum of 1/g's inverse from outside."""
        scale = side / self._width
        values = side * self.blue(scale * _SCAN)
        rising = np.flatnonzero(np.diff(values) > 0)
        if not rising.size:  # an atom at the very end
            end = 0 if side < 0 else 1
            return _hull(self.first)[end] + _hull(self.second)[end]
        first = rising[0]
        bounds = np.log(_SCAN[[max(first - 1, 0), first + 1]])
        found = minimize_scalar(
            lambda t: side * float(self.blue(scale * np.exp(t))),
            bounds=tuple(bounds),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return float(side * found.fun)


def _self_energy(law: Law, w: NDArray) -> tuple[NDArray, NDArray]:
    """Self-energy, which maps the upper half-plane to the closed lower one, and its derivative."""
    with np.errstate(invalid="ignore"):  # NaN in, NaN out
        return law.self_energy(w), 1 + law.stieltjes_derivative(w) / law.stieltjes(w) ** 2


def _hull(law: Law) -> tuple[float, float]:
    """Find the ends of the support, atoms included."""
    ends = np.concatenate([law.edges, law.atoms[0]])
    return float(ends.min()), float(ends.max())
