"""The Marchenko-Pastur law: the spectrum of a sample covariance of independent noise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory.rmt.inversion import quantile_of


@dataclass(frozen=True)
class MarchenkoPastur:
    """Limit law of the eigenvalues of Xᵀ X / N for independent entries.

    Parameters
    ----------
    ratio
        Columns per row of X: order of the matrix over the number of samples, P/N.
    variance
        Variance of the entries of X.

    Raises
    ------
    ValueError
        `ratio` or `variance` is not positive.

    References
    ----------
    Marchenko & Pastur (1967), Mathematics of the USSR-Sbornik 1(4), 457-483.
    """

    ratio: float
    variance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("ratio", "variance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def edges(self) -> tuple[float, float]:
        """Left and right end of the continuous part, variance (1 ∓ √ratio)²."""
        root = math.sqrt(self.ratio)
        return self.variance * (1 - root) ** 2, self.variance * (1 + root) ** 2

    @property
    def atom(self) -> float:
        """Mass at zero: 1 - 1/ratio where there are more columns than rows, else none."""
        return max(0.0, 1 - 1 / self.ratio)

    @property
    def atoms(self) -> tuple[NDArray, NDArray]:
        """Locations and masses of the atoms, shape (1,) each with more columns than rows."""
        if self.atom == 0:
            return np.empty(0), np.empty(0)
        return np.zeros(1), np.array([self.atom])

    def density(self, x: ArrayLike) -> NDArray:
        """Density of the continuous part at `x`, same shape, float64; the atom is left out."""
        x = np.asarray(x, dtype=np.float64)
        left, right = self.edges
        inside = (x > left) & (x < right)
        safe = np.where(inside, x, 1.0)
        height = np.sqrt(np.where(inside, (right - x) * (x - left), 0.0))
        return height / (2 * math.pi * self.variance * self.ratio * safe)

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`, atom included, same shape, float64."""
        x = np.asarray(x, dtype=np.float64)
        left, right = self.edges
        inside = np.clip(x, left, right)
        middle, half = (left + right) / 2, (right - left) / 2
        # Primitive of √((right - x)(x - left)) / x; the last term vanishes with the left edge.
        primitive = np.sqrt((right - inside) * (inside - left)) + middle * _arcsine(
            (inside - middle) / half
        )
        if left > 0:
            last = (middle * inside - left * right) / (half * inside)
            primitive = primitive - math.sqrt(left * right) * _arcsine(last)
        start = -(middle - math.sqrt(left * right)) * math.pi / 2
        mass = (primitive - start) / (2 * math.pi * self.variance * self.ratio)
        return np.where(x >= 0, self.atom, 0) + np.clip(mass, 0, 1 - self.atom)

    def quantile(self, probability: ArrayLike) -> NDArray:
        """Smallest x with at least this `probability` at or below it, same shape, float64.

        Raises
        ------
        ValueError
            A probability lies outside [0, 1].
        """
        above = quantile_of(self.cdf, self.edges, probability)
        on_atom = (np.asarray(probability) <= self.atom) & (self.atom > 0)
        return np.where(on_atom, 0, above)

    def moment(self, order: int) -> float:
        """Moment of this `order` k about 0: varianceᵏ times Σⱼ N(k, j) ratio^(j-1).

        N(k, j) = C(k, j) C(k, j - 1) / k are the Narayana numbers.

        Raises
        ------
        ValueError
            `order` is negative.
        """
        if order < 0:
            raise ValueError(f"order must be at least 0, got {order}")
        if order == 0:
            return 1.0
        terms = (
            math.comb(order, j) * math.comb(order, j - 1) // order * self.ratio ** (j - 1)
            for j in range(1, order + 1)
        )
        return self.variance**order * sum(terms)

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = ∫ dμ(λ) / (z - λ), atom included, with g ~ 1/z.

        Parameters
        ----------
        z
            Points off the support, any shape, real or complex.

        Returns
        -------
        NDArray
            Same shape; float64 for real `z`, complex128 for complex.

        Raises
        ------
        ValueError
            A real `z` lies inside the support, or on the atom.
        """
        z = np.asarray(z)
        left, right = self.edges
        if not np.iscomplexobj(z) and np.any((z > left) & (z < right) | (z == 0) & (self.atom > 0)):
            raise ValueError(
                f"z must lie outside ({left}, {right}) and off an atom at 0, got a real value "
                "inside; add a small imaginary part"
            )
        point = z.astype(np.complex128)
        root = np.sqrt(point - left) * np.sqrt(point - right)  # one cut, see Semicircle.stieltjes
        linear = point - self.variance * (1 - self.ratio)
        # Two forms of one number; near an atom at 0 the first cancels, far away the second.
        cancels = (linear * root.conj()).real < 0
        far = 2 / np.where(cancels, 1, linear + root)
        near = (linear - root) / (2 * self.variance * self.ratio * np.where(cancels, point, 1))
        transform = np.where(cancels, near, far)
        return transform if np.iscomplexobj(z) else transform.real

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Give the derivative g'(z) = 1 / (R'(g) - 1/g²), for `z` as in `stieltjes`."""
        g = self.stieltjes(z)
        return 1 / (self.r_derivative(g) - g**-2.0)

    def self_energy(self, z: ArrayLike) -> NDArray:
        """Self-energy z - 1/g(z) = R(g(z)), precise also far away; `z` as in `stieltjes`."""
        return self.r_transform(self.stieltjes(z))

    def log_potential(self, z: ArrayLike) -> NDArray:
        """Potential ∫ log(z - λ) dμ(λ), atom included, in the upper half-plane.

        It is z g - 1 - log g + log(1 - variance ratio g) / ratio.
        """
        z = np.asarray(z, dtype=np.complex128)
        g = self.stieltjes(z)
        return z * g - 1 - np.log(g) + np.log(1 - self.variance * self.ratio * g) / self.ratio

    def r_transform(self, w: ArrayLike) -> NDArray:
        """R transform, variance / (1 - variance ratio w), additive over free summands."""
        return self.variance / (1 - self.variance * self.ratio * np.asarray(w))

    def r_derivative(self, w: ArrayLike) -> NDArray:
        """Give the derivative of the R transform, ratio R(w)², same shape as `w`."""
        return self.ratio * self.r_transform(w) ** 2

    def blue(self, w: ArrayLike) -> NDArray:
        """Blue function R(w) + 1/w, the functional inverse of the Stieltjes transform."""
        return self.r_transform(w) + 1 / np.asarray(w)


def _arcsine(x: NDArray) -> NDArray:
    """Arcsine that forgives rounding beyond ±1."""
    return np.arcsin(np.clip(x, -1, 1))
