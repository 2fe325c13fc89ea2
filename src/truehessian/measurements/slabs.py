"""Vectors of length P as rows, a few columns at a time: in float64 without a float64 copy of all.

The rows may lie anywhere and in any precision; a slab of them is brought to one device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from truehessian.devices import available_bytes
from truehessian.spectra import bases

# Bytes of float64 that are in work at once. On a CPU they have to stay in the cache; a GPU needs
# slabs large enough for its kernels to be longer than their launches.
_IN_WORK = {"cpu": 6 << 20, "cuda": 256 << 20}


def columns_of(num_params: int, rows: int, device: torch.device) -> list[slice]:
    """Cut range(P) into slabs, of which `rows` rows in float64 are in work at once."""
    width = max(_IN_WORK.get(device.type, 6 << 20) // (8 * max(rows, 1)), 512)
    return [slice(i, min(i + width, num_params)) for i in range(0, num_params, width)]


def read(rows: Tensor, columns: slice, device: torch.device) -> Tensor:
    """Take a slab in float64 on a device; a view where it is all of this already."""
    return rows[:, columns].to(device=device, dtype=torch.float64)


class Room:
    """Memory for rows in float64: on a device within a budget, then on the host, then in files.

    Parameters
    ----------
    device
        Where slabs of the rows will be worked on.
    budget
        Bytes that all rows together may take there; half of what is free by default.
    """

    def __init__(self, device: torch.device, budget: int | None = None) -> None:
        self.device = device
        self.left = available_bytes(device) // 2 if budget is None else budget

    def take(self, shape: Sequence[int], name: str) -> Tensor:
        """Give uninitialised rows, shape (count, P), float64; logs where they lie.

        Raises
        ------
        MemoryError
            They fit nowhere.
        """
        count, num_params = shape
        if not count:
            return torch.empty(0, num_params, dtype=torch.float64, device=self.device)
        (rows,) = bases.allocate(
            (1, count, num_params),
            torch.float64,
            self.device,
            self.left,
            name=name,
            remedy="take fewer directions",
        )
        if bases.place_of(rows) == self.device.type:
            self.left -= rows.numel() * rows.element_size()
        return rows
