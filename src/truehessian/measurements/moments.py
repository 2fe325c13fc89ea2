"""Running moments of the products of groups of examples, in bounded memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from truehessian.measurements.leak_sketch import LeakSketch
from truehessian.measurements.slabs import Room, columns_of, read

_ALL = slice(None)


class GroupSums(NamedTuple):
    """What is left of n groups of sizes g_j once their products P_j, shape (K, P), are gone.

    Attributes
    ----------
    scatter
        sum_j g_j r_j² (P_j - M) (P_j - M)ᵀ with the weighted mean M, shape (K, K), float64.
    increments
        The diagonals of the n - 1 terms of Welford's recurrence that make it up, (n - 1, K).
    projected
        B P_jᵀ for the rows B that products are projected on, shape (n, K + L, K).
    mean_projected
        B Mᵀ, shape (K + L, K).
    sizes
        g_j, shape (n,), float64.
    relative_weights
        r_j, the mean weight of a group's examples in units of that of all, shape (n,), float64.
    """

    scatter: Tensor
    increments: Tensor
    projected: Tensor
    mean_projected: Tensor
    sizes: Tensor
    relative_weights: Tensor


class Moments:
    """Running weighted mean and scatter of the groups' products, slab by slab of their columns.

    Beside the directions, what is held from one group to the next are the mean, K vectors in
    float64, and what the sketch holds; both lie where `room` has put them. Where examples do not
    count alike, the scatter runs around a mean of its own, K vectors more, and is moved at the end.

    Parameters
    ----------
    directions
        Rows that the operator multiplies, shape (K, P), in its precision and on its device.
    beside
        Further rows to project products on, shape (L, P), anywhere.
    sketch
        Takes in the products of the last directions, or None.
    room
        Where large arrays may lie.
    are_equal
        Whether all examples count alike, so that all relative weights are 1.
    """

    def __init__(
        self,
        directions: Tensor,
        beside: Tensor,
        sketch: LeakSketch | None,
        room: Room,
        *,
        are_equal: bool = True,
    ) -> None:
        self.directions = directions
        self.sketch = sketch
        self.weight = 0.0
        self._onto = [directions, _brought_near(beside, room)]
        self._mean = room.take(directions.shape, "mean of the products").zero_()
        self._whole = 0.0  # sum of the weights of the groups
        self._weighted_mean = self._mean
        if not are_equal:
            self._weighted_mean = room.take(directions.shape, "weighted mean").zero_()
        if sketch is not None:
            sketch.settle(room)
        self._scatter = self._zeros(len(directions))
        self._increments: list[Tensor] = []
        self._projected: list[Tensor] = []
        self._sizes: list[int] = []
        self._relative_weights: list[float] = []

    def add(self, size: int, products: Tensor, relative_weight: float = 1.0) -> None:
        """Take in the products of a group's mean matrix, shape (K, P), on the device.

        The scatter weighs groups by g r², the inverse of their variance, and the mean by g r.
        """
        self._move_weighted_mean(size * relative_weight, products)
        weight = size * relative_weight**2
        share = weight * self.weight / (self.weight + weight) if weight else 0.0
        self.weight += weight
        step = weight / self.weight if weight else 0.0
        projected, increment = self._seen(step, products)
        if self._sizes:
            increment *= share
            self._scatter += increment
            self._increments.append(increment.diagonal().clone())
        if self.sketch is not None:
            if share:
                last = slice(len(self.directions) - self.sketch.num_vectors, None)
                self.sketch.merge(lambda slab: share**0.5 * self._deviation(products, slab, last))
            for slab in self._columns:
                self._move_mean(slab, self._deviation(products, slab), step)
        self._projected.append(projected)
        self._sizes.append(size)
        self._relative_weights.append(relative_weight)

    def sums(self) -> GroupSums:
        """Give what all groups together have brought; at least two."""
        mean_projected = self._zeros(self._num_onto)
        for slab in self._columns:
            mean = self._read(self._weighted_mean, slab)
            mean_projected += self._rows_onto(slab) @ mean.T
            if self._weighted_mean is not self._mean:
                moved = self._read(self._mean, slab) - mean
                self._scatter += self.weight * (moved @ moved.T)
        device = self.directions.device
        return GroupSums(
            self._scatter,
            torch.stack(self._increments),
            torch.stack(self._projected),
            mean_projected,
            torch.tensor(self._sizes, dtype=torch.float64, device=device),
            torch.tensor(self._relative_weights, dtype=torch.float64, device=device),
        )

    def _move_weighted_mean(self, weight: float, products: Tensor) -> None:
        if self._weighted_mean is self._mean or not weight:
            return
        self._whole += weight
        for slab in self._columns:
            mean = self._read(self._weighted_mean, slab)
            step = weight / self._whole
            self._weighted_mean[:, slab] = mean + (self._read(products, slab) - mean) * step

    def _seen(self, step: float, products: Tensor) -> tuple[Tensor, Tensor]:
        """Project products and take their scatter; the mean moves on unless a sketch needs it."""
        projected, scatter = self._zeros(self._num_onto), self._zeros(len(self.directions))
        for slab in self._columns:
            own = self._read(products, slab)
            projected += self._rows_onto(slab) @ own.T
            deviation = own - self._read(self._mean, slab)
            scatter += deviation @ deviation.T
            if self.sketch is None:
                self._move_mean(slab, deviation, step)
        return projected, scatter

    def _deviation(self, products: Tensor, slab: slice, rows: slice = _ALL) -> Tensor:
        return self._read(products[rows], slab) - self._read(self._mean[rows], slab)

    def _move_mean(self, slab: slice, deviation: Tensor, step: float) -> None:
        self._mean[:, slab] = self._read(self._mean, slab) + deviation * step

    @property
    def _num_onto(self) -> int:
        return sum(map(len, self._onto))

    @property
    def _columns(self) -> list[slice]:
        rows = 4 * len(self.directions) + 2 * self._num_onto
        return columns_of(self.directions.shape[1], rows, self.directions.device)

    def _rows_onto(self, slab: slice) -> Tensor:
        return torch.cat([self._read(rows, slab) for rows in self._onto])

    def _read(self, rows: Tensor, slab: slice) -> Tensor:
        return read(rows, slab, self.directions.device)

    def _zeros(self, rows: int) -> Tensor:
        count, device = len(self.directions), self.directions.device
        return torch.zeros(rows, count, dtype=torch.float64, device=device)


def _brought_near(rows: Tensor, room: Room) -> Tensor:
    """Copy rows to the device if there is room: they are read once per group."""
    fits = rows.numel() * 8 <= room.left
    if not len(rows) or rows.device == room.device or not fits:
        return rows
    return room.take(rows.shape, "vectors beside the directions").copy_(rows)
