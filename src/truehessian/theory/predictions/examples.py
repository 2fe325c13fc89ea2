"""What single examples bring to a Hessian, as far as batches of them are put together from it.

H_B = (1/B) sum of H_i, and each H_i is nearly of low rank: a few of its own outer eigenpairs, its
parts, and what it has along the extremal Ritz vectors U of all the data hold most of what moves the
ends of a batch's spectrum.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {"num_examples": int, "num_parameters": int, "passes": float, "sketch_error": float}
# Of more parts than this, inner products are taken batch by batch: of all they would be 256 MB.
_MOST_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class ExampleParts:
    """The Hessians of n single examples, seen from K orthonormal vectors U and their own parts.

    They are those of the loss alone. Where a loss gives examples weights of mean w, the matrices
    H + (w_i / w) (H_i - H) take the place of the H_i.

    Attributes
    ----------
    ritz_values
        Of the full Hessian, for the columns of U: the largest first and then the smallest, from
        the outermost inwards, shape (K,).
    indices
        Which examples of the training set, shape (n,).
    within
        Uᵀ H_i U, shape (n, K, K).
    values
        Curvatures of the parts, outer Ritz values of each H_i, shape (n, m).
    inside
        Uᵀ q of the parts' unit vectors q, shape (n, m, K).
    outside
        What these have outside U, in d coordinates that keep inner products, shape (n, m, d).
    rest
        Gram matrix of what H_i U has outside U and outside the parts, shape (n, K, K).
    rest_values
        Curvature of each H_i along this rest, of the extreme Ritz vector of the upper and of the
        lower end, shape (n, 2); zero where there is no rest.
    offset
        What H_i U has outside U and outside the parts in the mean over these examples, in the same
        coordinates, shape (K, d): with it the mean coupling of U to its outside is right (none at
        all for all the data, where U holds eigenvectors) although parts are not all.
    num_examples, num_parameters
        N and P of the full Hessian.
    passes
        Products with all N examples that this has taken.
    sketch_error
        Root mean square error of the inner product of two parts, in units of their lengths; 0 where
        inner products are exact.
    """

    ritz_values: NDArray
    indices: NDArray
    within: NDArray
    values: NDArray
    inside: NDArray
    outside: NDArray
    rest: NDArray
    rest_values: NDArray
    offset: NDArray
    num_examples: int
    num_parameters: int
    passes: float
    sketch_error: float

    @property
    def are_all(self) -> bool:
        """Whether every example of the training set is there."""
        return len(self.within) == self.num_examples

    @functools.cached_property
    def hessian(self) -> NDArray:
        """Mean of `within`, Uᵀ H U where the examples are all, shape (K, K)."""
        mean: NDArray = self.within.mean(axis=0, dtype=np.float64)
        return mean

    def gram(self, chosen: NDArray) -> NDArray:
        """Inner products, outside U, of the parts of some examples and of `offset` behind them.

        Returns
        -------
        NDArray
            Shape (c m + K, c m + K) for c examples, in the precision of the coordinates, at least
            float32.
        """
        if self.values.size <= _MOST_AT_ONCE:
            parts = self.values.shape[1]
            places = (chosen[:, None] * parts + np.arange(parts)).ravel()
            offset = self.values.size + np.arange(len(self.offset))
            places = np.concatenate([places, offset])
            return self._gram[np.ix_(places, places)]
        return self._products(self.outside[chosen])

    @functools.cached_property
    def _gram(self) -> NDArray:
        return self._products(self.outside)

    def _products(self, outside: NDArray) -> NDArray:
        rows = np.concatenate([outside.reshape(-1, outside.shape[-1]), self.offset])
        rows = rows.astype(np.promote_types(rows.dtype, np.float32))
        products: NDArray = rows @ rows.T
        return products


def effective_number(parts: ExampleParts) -> NDArray:
    """Count the examples that carry each eigenvalue.

    Returns
    -------
    NDArray
        (Σ |c_i|)² / Σ c_i² with the contributions c_i = uᵀ H_i u of single examples, times N / n
        where n of N were measured, for each Ritz vector u, shape (K,): 1 where one example has all
        the curvature along it, N where all have as much; NaN where none has any.
    """
    along = np.abs(np.diagonal(parts.within, axis1=1, axis2=2)).astype(np.float64)
    squares = (along**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        number: NDArray = along.sum(axis=0) ** 2 / squares
    return number * (parts.num_examples / len(along))


def save(path: str | Path, parts: ExampleParts) -> None:
    """Write the parts of examples as an NPZ archive of their attributes."""
    np.savez(path, **{field.name: getattr(parts, field.name) for field in fields(parts)})


def load(path: str | Path) -> ExampleParts:
    """Read what `save` has written."""
    with np.load(path, allow_pickle=False) as archive:
        found: dict[str, Any] = {
            field.name: _NUMBERS.get(field.name, np.asarray)(archive[field.name])
            for field in fields(ExampleParts)
        }
    return ExampleParts(**found)


def load_epochs(paths: Iterable[str | Path]) -> dict[int, ExampleParts]:
    """Read files that are named by their epochs, `{epoch}.parts.npz`."""
    return {int(Path(path).name.split(".")[0]): load(path) for path in paths}
