"""Discrete measures: an empirical or measured spectrum, as nodes and weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise

_BLOCK = 2**21  # elements of the largest temporary array


class Law(Protocol):
    """A probability measure on the real line, as far as the free convolution needs to know it."""

    @property
    def edges(self) -> tuple[float, float]:
        """Left and right end of the support, atoms apart."""

    @property
    def atoms(self) -> tuple[NDArray, NDArray]:
        """Locations and masses of the atoms, both of shape (A,)."""

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = ∫ dμ(λ) / (z - λ)."""

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Give the derivative of the Stieltjes transform."""

    def self_energy(self, z: ArrayLike) -> NDArray:
        """Self-energy z - 1/g(z)."""

    def log_potential(self, z: ArrayLike) -> NDArray:
        """Potential ∫ log(z - λ) dμ(λ) in the upper half-plane, the primitive of g."""

    def blue(self, w: ArrayLike) -> NDArray:
        """Functional inverse of the Stieltjes transform at real w ≠ 0."""


@dataclass(frozen=True, eq=False)
class DiscreteMeasure:
    """Finitely many atoms, such as Ritz values with their quadrature weights.

    Parameters
    ----------
    nodes
        Locations, shape (K,), in units of the eigenvalues, in any order. Kept sorted; equal
        nodes are merged, nodes of weight 0 are dropped.
    weights
        Masses, shape (K,), not negative, of sum 1 (to six digits; then normalised).

    Raises
    ------
    ValueError
        The shapes differ, a value is not finite, a weight is negative, or the sum is not 1.
    """

    nodes: NDArray
    weights: NDArray

    def __post_init__(self) -> None:
        nodes = np.asarray(self.nodes, dtype=np.float64)
        weights = np.asarray(self.weights, dtype=np.float64)
        if nodes.ndim != 1 or nodes.shape != weights.shape:
            raise ValueError(
                f"nodes and weights must be of one shape (K,), got {nodes.shape}, {weights.shape}"
            )
        if not (np.isfinite(nodes).all() and np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("nodes must be finite, weights finite and not negative")
        if not math.isclose(total := float(weights.sum()), 1, abs_tol=1e-6):
            raise ValueError(f"weights must sum to 1, got {total}; divide them by their sum")
        distinct, inverse = np.unique(nodes[weights > 0], return_inverse=True)
        object.__setattr__(self, "nodes", distinct)
        object.__setattr__(self, "weights", np.bincount(inverse, weights[weights > 0]) / total)

    @classmethod
    def of_eigenvalues(cls, values: ArrayLike) -> "DiscreteMeasure":
        """Build the empirical spectral distribution of `values`, any shape, equal weights."""
        values = np.asarray(values, dtype=np.float64).ravel()
        return cls(values, np.full(values.shape, 1 / max(values.size, 1)))

    @property
    def edges(self) -> tuple[float, float]:
        """Smallest and largest node."""
        return float(self.nodes[0]), float(self.nodes[-1])

    @property
    def atoms(self) -> tuple[NDArray, NDArray]:
        """Locations and masses, shape (K,) each."""
        return self.nodes, self.weights

    def by_block(self, function: Callable[[NDArray], NDArray], z: ArrayLike) -> NDArray:
        """Apply a function of the differences z - nodes, in blocks of bounded memory.

        Parameters
        ----------
        function
            Takes an array of differences of shape (B, K), gives one of shape (B,).
        z
            Points, any shape, real or complex.

        Returns
        -------
        NDArray
            The function's values, same shape as `z`.
        """
        z = np.asarray(z)
        flat = z.reshape(-1, 1)
        rows = max(1, _BLOCK // len(self.nodes))
        starts = range(0, max(len(flat), 1), rows)
        with np.errstate(invalid="ignore", over="ignore"):  # NaN in, NaN out
            values = [function(flat[i : i + rows] - self.nodes) for i in starts]
        return np.concatenate(values).reshape(z.shape)

    def integrate(
        self, function: Callable[[NDArray], NDArray], z: ArrayLike, factor: ArrayLike = 1.0
    ) -> NDArray:
        """Integrate ∫ function(z - λ) factor(λ) dμ(λ) for an elementwise function.

        `factor` has its values on the nodes, shape (K,); the result has the shape of `z`.
        """
        weights = self.weights * factor
        return self.by_block(lambda difference: function(difference) @ weights, z)

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`, same shape, float64."""
        x = np.asarray(x, dtype=np.float64)
        cumulative = np.concatenate([[0.0], np.cumsum(self.weights)])
        cumulative[-1] = 1.0
        below = cumulative[np.searchsorted(self.nodes, x, side="right")]
        return np.where(np.isnan(x), np.nan, below)

    def moment(self, order: int) -> float:
        """Moment ∫ λᵏ dμ(λ) of this `order` k about 0.

        Raises
        ------
        ValueError
            `order` is negative.
        """
        if order < 0:
            raise ValueError(f"order must be at least 0, got {order}")
        return float(self.weights @ self.nodes**order)

    def stieltjes(self, z: ArrayLike) -> NDArray:
        """Stieltjes transform g(z) = Σ weights / (z - nodes), at points of any shape.

        Raises
        ------
        ValueError
            A `z` is one of the nodes.
        """
        self._check_off_nodes(z)
        return self.integrate(lambda difference: 1 / difference, z)

    def stieltjes_derivative(self, z: ArrayLike) -> NDArray:
        """Give the derivative g'(z) = - Σ weights / (z - nodes)², same shape as `z`.

        Raises
        ------
        ValueError
            A `z` is one of the nodes.
        """
        self._check_off_nodes(z)
        return -self.integrate(lambda difference: (1 / difference) ** 2, z)

    def self_energy(self, z: ArrayLike) -> NDArray:
        """Self-energy z - 1/g(z) = R(g(z)), precise also far away; `z` as in `stieltjes`."""
        weighted = self.integrate(lambda difference: 1 / difference, z, self.nodes)
        with np.errstate(invalid="ignore"):
            return weighted / self.stieltjes(z)

    def log_potential(self, z: ArrayLike) -> NDArray:
        """Potential Σ weights log(z - nodes), complex128; real `z` count as limits from above.

        Its imaginary part over π is the mass above Re z, smoothed by a Cauchy kernel of width
        Im z.
        """
        z = np.asarray(z, dtype=np.complex128)
        with np.errstate(divide="ignore"):  # minus infinity on a node
            real = self.integrate(lambda difference: np.log(np.abs(difference)), z)
        return real + 1j * self.integrate(np.angle, z)

    def r_transform(self, w: ArrayLike) -> NDArray:
        """R transform R(w) = g⁻¹(w) - 1/w at real `w`, any shape; the mean at 0.

        On the branch that belongs to z outside the nodes, where g takes every value but 0 once.
        """
        w = np.asarray(w, dtype=np.float64)
        flat = w.reshape(-1)
        # R solves ∫ (R - λ) / (1 + w (R - λ)) dμ = 0. For w < 0, it is minus the transform of
        # the mirrored measure at -w.
        sign = np.where(flat < 0, -1.0, 1.0)
        top = np.where(flat < 0, -self.nodes[0], self.nodes[-1])
        heaviest = np.where(flat < 0, self.weights[0], self.weights[-1])
        size = np.abs(flat)

        def excess(r: NDArray, size: NDArray, sign: NDArray) -> NDArray:
            distance = r[:, None] - sign[:, None] * self.nodes
            return (distance / (1 + size[:, None] * distance)) @ self.weights

        with np.errstate(divide="ignore"):
            low = np.maximum(sign * self.moment(1), top - (1 - heaviest) / size)
        root = np.where(np.isnan(flat), np.nan, sign * low)
        solve = (low < top) & (size > 0)
        arguments = (size[solve], sign[solve])
        found = elementwise.find_root(excess, (low[solve], top[solve]), args=arguments)
        root[solve] = sign[solve] * found.x
        return root.reshape(w.shape)

    def r_derivative(self, w: ArrayLike) -> NDArray:
        """Give the derivative R'(w) at real `w`, same shape; the variance at 0."""
        w = np.asarray(w, dtype=np.float64)
        distance = self.r_transform(w)[..., None] - self.nodes
        inverse = (1 + w[..., None] * distance) ** -2.0
        return (distance**2 * inverse) @ self.weights / (inverse @ self.weights)

    def blue(self, w: ArrayLike) -> NDArray:
        """Blue function R(w) + 1/w at real w ≠ 0, the inverse of the Stieltjes transform."""
        return self.r_transform(w) + 1 / np.asarray(w, dtype=np.float64)

    def _check_off_nodes(self, z: ArrayLike) -> None:
        if np.isin(z, self.nodes).any():
            raise ValueError("z must not be a node, got one; add a small imaginary part")
