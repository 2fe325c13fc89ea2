"""The directions that noise turns a few vectors into, found while their products stream by."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from truehessian.measurements.slabs import Room, columns_of, read


class LeakSketch:
    """Principal directions of what leaks out of a span, in one pass and bounded memory.

    For each part of the span (the vectors of one end of the spectrum) the best `count` directions
    so far are merged with what the next group leaks, and cut back to `count` again: sequential
    principal component analysis, where the products are. Memory: the span and `count` vectors of
    length P per part, float64, and slabs of columns beside them.

    Parameters
    ----------
    parts
        Orthonormal vectors as rows, shape (k_j, P) each, on any device.
    count
        Directions to keep for each part.
    beside
        Further rows of the span, shape (b, P), orthonormal to the parts' and whose own products are
        not looked at; the parts alone by default.

    Attributes
    ----------
    inside
        Squares of what the products' deviations have along the span, summed over groups: a row for
        each vector of the parts, a column for each of the span, shape (k, k + b).
    outside
        The same of what leaks out of the span, shape (k,).

    References
    ----------
    Levy & Lindenbaum (2000), IEEE Transactions on Image Processing 9(8), 1371-1374.
    """

    def __init__(self, parts: Sequence[Tensor], count: int, beside: Tensor | None = None) -> None:
        self.sizes = [len(part) for part in parts]
        self.count = count
        self._parts = [*parts, *([] if beside is None else [beside])]
        self._num_span = sum(map(len, self._parts))
        self._filled = [0 for _ in parts]
        self.inside = torch.zeros(self.num_vectors, self._num_span, dtype=torch.float64)
        self.outside = torch.zeros(self.num_vectors, dtype=torch.float64)
        self._room: Room | None = None
        self._span: Tensor
        self._kept: Tensor

    @property
    def num_vectors(self) -> int:
        """How many vectors have their products looked at: those of the parts."""
        return sum(self.sizes)

    def settle(self, room: Room) -> None:
        """Copy the span to where there is room for it, and take room for what will be kept.

        Nothing happens the second time. Without it `add` takes both on the device of its rows.
        """
        if self._room is not None:
            return
        num_params = self._parts[0].shape[1]
        self._room = room
        self._span = room.take((self._num_span, num_params), "span of the leaks")
        self._kept = room.take((len(self.sizes) * self.count, num_params), "sketch of the leaks")
        sizes = [len(part) for part in self._parts]
        for rows, part in zip(self._span.split(sizes), self._parts, strict=True):
            rows.copy_(part)
        self._parts = []

    def add(self, deviations: Tensor) -> None:
        """Take in how the products of one group deviate, shape (k, P), in the order of the span."""
        device = deviations.device
        self.settle(Room(device))
        self.merge(lambda columns: read(deviations, columns, device))

    def merge(self, deviations: Callable[[slice], Tensor]) -> None:
        """As `add`, of rows that are given slab by slab, (k, columns) in float64, three times."""
        device, columns = self._where()
        inside = torch.zeros(self.num_vectors, self._num_span, dtype=torch.float64, device=device)
        for slab in columns:
            inside += deviations(slab) @ read(self._span, slab, device).T

        def leaks(slab: slice) -> list[Tensor]:
            """Put what leaks anew below what is kept, part by part."""
            rows = deviations(slab) - inside @ read(self._span, slab, device)
            pairs = zip(self._rooms(), self._filled, rows.split(self.sizes), strict=True)
            return [torch.cat([read(kept[:n], slab, device), own]) for kept, n, own in pairs]

        sizes = [n + k for n, k in zip(self._filled, self.sizes, strict=True)]
        grams = [inside.new_zeros(size, size) for size in sizes]
        for slab in columns:
            for gram, rows in zip(grams, leaks(slab), strict=True):
                gram += rows @ rows.T
        self.inside += inside.square().cpu()
        own = [gram.diagonal()[-k:] for gram, k in zip(grams, self.sizes, strict=True)]
        self.outside += torch.cat(own).cpu()
        principal = [_principal(gram, self.count) for gram in grams]
        for slab in columns:
            for kept, axes, rows in zip(self._rooms(), principal, leaks(slab), strict=True):
                kept[: len(axes), slab] = axes @ rows
        self._filled = [len(axes) for axes in principal]

    def gram(self) -> Tensor:
        """Inner products of the rows kept, all of the first part and then of the second: (q, q).

        The rows of a part are orthogonal, and their squares are what they hold of `outside`.
        """
        rows = self._filled_rows()
        gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        if len(rows):
            device, columns = self._where()
            for slab in columns:
                own = read(rows, slab, device)
                gram += (own @ own.T).cpu()
        return gram

    def part_of_rows(self) -> Tensor:
        """Say to which part each row of `gram` belongs, shape (q,)."""
        return torch.arange(len(self.sizes)).repeat_interleave(torch.tensor(self._filled))

    def keep(self, numbers: Sequence[int]) -> None:
        """Keep the rows of `gram` that have these numbers, and drop the others."""
        parts, begin = self.part_of_rows(), 0
        wanted = sorted(numbers)
        for part, room in enumerate(self._rooms() if self._room else []):
            own = [n - begin for n in wanted if parts[n] == part]
            for place, number in enumerate(own):
                room[place] = room[number]
            begin += self._filled[part]
            self._filled[part] = len(own)

    def directions(self) -> Tensor:
        """Orthonormal rows, orthogonal to the span, shape (q, P), q at most count per part."""
        rows = self._filled_rows()
        if not len(rows):
            return rows
        for _ in range(2):
            self._take_span_off(rows)
        for _ in range(2):  # once more, because the Gram matrix squares the condition
            rows = self._orthonormal(rows)
        return rows

    def _filled_rows(self) -> Tensor:
        """Copy the rows kept, those of one part behind those of the other."""
        if self._room is None:
            return self._parts[0].new_zeros(0, self._parts[0].shape[1], dtype=torch.float64)
        kept = zip(self._rooms(), self._filled, strict=True)
        return torch.cat([room[:filled] for room, filled in kept])

    def _where(self) -> tuple[torch.device, list[slice]]:
        assert self._room is not None
        rows = 4 * self.num_vectors + 2 * self._num_span + 2 * len(self._kept)
        return self._room.device, columns_of(self._span.shape[1], rows, self._room.device)

    def _rooms(self) -> list[Tensor]:
        """Where each part's directions are kept, `count` rows each."""
        return [self._kept[self.count * i : self.count * (i + 1)] for i in range(len(self.sizes))]

    def _take_span_off(self, rows: Tensor) -> None:
        """Make rows unit vectors and orthogonal to the span, in place."""
        device, columns = self._where()
        squares = rows.new_zeros(len(rows), device=device)
        inside = rows.new_zeros(len(rows), self._num_span, device=device)
        for slab in columns:
            own = read(rows, slab, device)
            squares += own.square().sum(1)
            inside += own @ read(self._span, slab, device).T
        norms = squares.sqrt().clamp(min=1e-12)[:, None]
        for slab in columns:
            own = read(rows, slab, device) - inside @ read(self._span, slab, device)
            rows[:, slab] = own / norms

    def _orthonormal(self, rows: Tensor) -> Tensor:
        """Orthonormal basis of the rows' span in their memory, without what is zero to rounding."""
        if not len(rows):
            return rows
        device, columns = self._where()
        gram = rows.new_zeros(len(rows), len(rows), device=device)
        for slab in columns:
            own = read(rows, slab, device)
            gram += own @ own.T
        values, vectors = torch.linalg.eigh(gram)
        solid = values > 1e-10 * values[-1].clamp(min=1e-30)
        axes = vectors[:, solid].T / values[solid].sqrt()[:, None]
        for slab in columns:
            rows[: len(axes), slab] = axes @ read(rows, slab, device)
        return rows[: len(axes)]


def _principal(gram: Tensor, count: int) -> Tensor:
    """Axes that combine rows into at most `count` orthogonal ones with most of their scatter."""
    _, vectors = torch.linalg.eigh(gram)
    return vectors[:, max(len(gram) - count, 0) :].T
