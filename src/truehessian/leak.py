"""The directions that noise turns a few vectors into, found while their products stream by."""

import torch
from torch import Tensor


class LeakSketch:
    """Principal directions of what leaks out of a span, in one pass and bounded memory.

    For each part of the span (the vectors of one end of the spectrum) the best `count` directions
    so far are merged with what the next group leaks, and cut back to `count` again: sequential
    principal component analysis. Memory: `count` vectors of length P per part, and as many again
    while merging.

    Parameters
    ----------
    parts
        Orthonormal vectors as rows, shape (k_j, P) each; together they are the span.
    count
        Directions to keep for each part.

    References
    ----------
    Levy & Lindenbaum (2000), IEEE Transactions on Image Processing 9(8), 1371-1374.
    """

    def __init__(self, parts: list[Tensor], count: int) -> None:
        self.span = torch.cat(parts).double()
        self.sizes = [len(part) for part in parts]
        self.count = count
        self._kept: list[Tensor] = [self.span.new_zeros(0, self.span.shape[1]) for _ in parts]

    def add(self, deviations: Tensor) -> None:
        """Take in how the products of one group deviate, shape (k, P), in the order of the span."""
        leaks = deviations - (deviations @ self.span.T) @ self.span
        for number, rows in enumerate(leaks.split(self.sizes)):
            self._kept[number] = _principal(torch.cat([self._kept[number], rows]), self.count)

    def directions(self) -> Tensor:
        """Orthonormal rows, orthogonal to the span, shape (q, P), q at most count per part."""
        rows = torch.cat(self._kept)
        for _ in range(2):
            rows = torch.nn.functional.normalize(rows, dim=1)
            rows = rows - (rows @ self.span.T) @ self.span
        return _orthonormal(rows)


def _principal(rows: Tensor, count: int) -> Tensor:
    """Combine rows into at most `count` orthogonal ones that hold most of their scatter."""
    _, vectors = torch.linalg.eigh(rows @ rows.T)
    return vectors[:, max(len(rows) - count, 0) :].T @ rows


def _orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal basis of the rows' span; what is zero to rounding is left out."""
    for _ in range(2):  # once more, because the Gram matrix squares the condition
        if not len(rows):
            break
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        solid = values > 1e-10 * values[-1].clamp(min=1e-30)
        rows = (vectors[:, solid].T @ rows) / values[solid].sqrt()[:, None]
    return rows
