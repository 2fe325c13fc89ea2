"""The Marchenko-Pastur law: the spectrum of a sample covariance of independent noise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


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

    def density(self, x: ArrayLike) -> NDArray:
        """Density of the continuous part at `x`, same shape, float64; the atom is left out."""
        x = np.asarray(x, dtype=np.float64)
        left, right = self.edges
        inside = (x > left) & (x < right)
        safe = np.where(inside, x, 1.0)
        height = np.sqrt(np.where(inside, (right - x) * (x - left), 0.0))
        return height / (2 * math.pi * self.variance * self.ratio * safe)

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
        transform = 2 / (point - self.variance * (1 - self.ratio) + root)
        return transform if np.iscomplexobj(z) else transform.real
