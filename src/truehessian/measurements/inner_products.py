"""Long vectors in few coordinates that keep their inner products."""

import torch
from torch import Tensor

from truehessian import streams


class Coordinates:
    """A fixed random map from P to d dimensions; nothing is lost where P is not above d.

    Each of d sums takes a random part of the components with random signs, all parts of one size:
    E <Sx, Sy> = <x, y>, with a variance of at most (|x|² |y|² + <x, y>²) / d for any two vectors.

    Parameters
    ----------
    num_params, dimension
        P and d.
    seed
        Of the map.
    device, dtype
        Of the vectors.

    Attributes
    ----------
    dimension
        d, or P where that is less.
    is_exact
        Whether inner products are exact.

    References
    ----------
    Charikar, Chen & Farach-Colton (2004), Theoretical Computer Science 312(1), 3-15 (sums over
    random parts with random signs).
    """

    def __init__(
        self,
        num_params: int,
        dimension: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.is_exact = num_params <= dimension
        self.dimension = min(num_params, dimension)
        if self.is_exact:
            return
        generator = streams.generator(seed, "coordinates of parts")
        self._length = -(-num_params // dimension)
        order = generator.permutation(num_params)
        signs = 2.0 * generator.integers(2, size=num_params) - 1
        self._order = torch.from_numpy(order).to(device)
        self._signs = torch.from_numpy(signs).to(device, dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Map vectors (..., P) to (..., d)."""
        if self.is_exact:
            return rows
        mixed = rows[..., self._order] * self._signs
        missing = self._length * self.dimension - mixed.shape[-1]
        mixed = torch.nn.functional.pad(mixed, (0, missing))
        return mixed.unflatten(-1, (self._length, self.dimension)).sum(-2)
