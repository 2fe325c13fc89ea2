"""The semicircle law: the spectrum of a symmetric matrix of independent noise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from truehessian.theory.rmt.inversion import quantile_of


@dataclass(frozen=True)
class Semicircle:
    """Limit law of the eigenvalues of a Wigner matrix.

    A symmetric matrix of order P with independent entries of variance s² off the diagonal
    has, for large P, the law with scale √P s.

    Parameters
    ----------
    centre
        Mean of the law, in units of the eigenvalues.
    scale
        Standard deviation of the law, same units; the support is centre ± 2 scale.

    Raises
    ------
    ValueError
        `scale` is not positive.

    References
    ----------
    True-Hessian paper, Eqs. 6-8 and 21-23; Tao (2012), Topics in Random Matrix Theory, Sec. 2.4.
    """

    centre: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    @property
    def edges(self) -> tuple[float, float]:
        """Left and right end of the support."""
        return self.centre - 2 * self.scale, self.centre + 2 * self.scale

    @property
    def atoms(self) -> tuple[NDArray, NDArray]:
        """Locations and masses of the atoms: none."""
        return np.empty(0), np.empty(0)

    def density(self, x: ArrayLike) -> NDArray:
        """Density at `x`, same shape, float64; zero outside the support."""
        distance = (np.asarray(x, dtype=np.float64) - self.centre) / self.scale
        return np.sqrt(np.maximum(4 - distance**2, 0)) / (2 * math.pi * self.scale)

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`, same shape, float64."""
        half = (np.asarray(x, dtype=np.float64) - self.centre) / (2 * self.scale)
        half = np.clip(half, -1, 1)
        return 0.5 + (half * np.sqrt(1 - half**2) + np.arcsin(half)) / math.pi

    def quantile(self, probability: ArrayLike) -> NDArray:
        """Smallest x with at least this `probability` at or below it, same shape, float64.

        Raises
        ------
        ValueError
            A probability lies outside [0, 1].
        """
        return quantile_of(self.cdf, self.edges, probability)

    def moment(self, order: int) -> float:
        """Moment of this `order` about the centre: scale^(2j) times the Catalan number of j.

        Raises
        ------
        ValueError
            `order` is negative.
        """
        if order < 0:
            raise ValueError(f"order must be at least 0, got {order}")
        if order % 2:
            return 0.0
        half = order // 2
        catalan = comb(2 * half, half, exact=True) // (half + 1)
        return float(catalan * self.scale**order)

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = ∫ ρ(λ) / (z - λ) dλ, on the branch with g ~ 1/z.

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
            A real `z` lies inside the support, where the transform jumps.
        """
        z = np.asarray(z)
        left, right = self.edges
        if not np.iscomplexobj(z) and np.any((z > left) & (z < right)):
            raise ValueError(
                f"z must lie outside ({left}, {right}), got a real value inside; "
                "add a small imaginary part"
            )
        shifted = z.astype(np.complex128) - self.centre
        # The product of the two principal roots behaves as z at infinity and is cut on the
        # support alone; the root of the product is not. The quotient avoids a cancellation.
        root = np.sqrt(shifted - 2 * self.scale) * np.sqrt(shifted + 2 * self.scale)
        transform = 2 / (shifted + root)
        return transform if np.iscomplexobj(z) else transform.real

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Give the derivative g'(z) = 1 / (scale² - 1/g²), for `z` as in `stieltjes`."""
        return 1 / (self.scale**2 - self.stieltjes(z) ** -2.0)

    def self_energy(self, z: ArrayLike) -> NDArray:
        """Self-energy z - 1/g(z) = R(g(z)), precise also far away; `z` as in `stieltjes`."""
        return self.r_transform(self.stieltjes(z))

    def log_potential(self, z: ArrayLike) -> NDArray:
        """Potential ∫ log(z - λ) ρ(λ) dλ = scale² g²/2 - log g in the upper half-plane."""
        g = self.stieltjes(np.asarray(z, dtype=np.complex128))
        return self.scale**2 * g**2 / 2 - np.log(g)

    def r_transform(self, w: ArrayLike) -> NDArray:
        """R transform, centre + scale² w, additive over free summands."""
        return self.centre + self.scale**2 * np.asarray(w)

    def r_derivative(self, w: ArrayLike) -> NDArray:
        """Give the derivative of the R transform, scale², same shape as `w`."""
        return np.full_like(np.asarray(w), self.scale**2, dtype=np.float64)

    def blue(self, w: ArrayLike) -> NDArray:
        """Blue function R(w) + 1/w, the functional inverse of the Stieltjes transform."""
        return self.r_transform(w) + 1 / np.asarray(w)
