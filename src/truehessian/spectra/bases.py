"""Where Lanczos bases lie: on the device of the products, in host memory or in files.

A basis of m vectors of length P is the largest thing that a recurrence needs, gigabytes for a
large network, and the only one that grows with the number of steps.
"""

import logging
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from truehessian import text
from truehessian.devices import available_bytes

logger = logging.getLogger(__name__)

_REMEDY = "take fewer steps or probes, raise basis_memory"
_WORDS = {"cpu": "in host memory", "disk": "on disk"}


def allocate(
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    budget: int | None = None,
    scratch: Path | None = None,
    *,
    name: str = "basis",
    remedy: str = _REMEDY,
) -> list[Tensor]:
    """Take room for bases in the nearest place that has enough, and log where.

    Parameters
    ----------
    shape
        Number of bases, steps m and order P.
    dtype
        Of the bases.
    device
        Of the products; tried first, then the host, then the disk.
    budget
        Bytes that all bases together may take on the device; half of what is free by default. On
        the host it is half of what is free always, on the disk all that is free.
    scratch
        Folder for files, on a disk; the system's folder for temporary files by default, which on
        some machines is memory. The files have no name and vanish with the tensors or the process.
    name, remedy
        What to call them in the log, and what to advise where they fit nowhere.

    Returns
    -------
    list of Tensor
        Of shape (m, P), uninitialised.

    Raises
    ------
    MemoryError
        The bases fit nowhere.
    """
    count, *each = shape
    how = {"name": name, "remedy": remedy}
    return allocate_each([(each[0], each[1])] * count, dtype, device, budget, scratch, **how)


def allocate_each(
    shapes: Sequence[tuple[int, int]],
    dtype: torch.dtype,
    device: torch.device,
    budget: int | None = None,
    scratch: Path | None = None,
    *,
    name: str = "basis",
    remedy: str = _REMEDY,
) -> list[Tensor]:
    """Take room for bases of any shapes (m, P), all in one place; else as `allocate`."""
    scratch = Path(scratch or tempfile.gettempdir())
    needed = sum(map(math.prod, shapes)) * dtype.itemsize
    summary = f"{_factors(shapes)} x {dtype.itemsize} B = {text.size(needed)}"
    rooms: dict[str, int] = {}
    for place in dict.fromkeys([device.type, "cpu", "disk"]):
        rooms[place] = _room(place, device, budget, scratch)
        if needed <= rooms[place]:
            logger.info("%s: %s, %s (allowed: %s)", name, summary, _words(place), _listed(rooms))
            if place == "disk":
                return [_on_disk(shape, dtype, scratch) for shape in shapes]
            where = device if place == device.type else torch.device(place)
            return [torch.empty(shape, dtype=dtype, device=where) for shape in shapes]
    raise MemoryError(
        f"a {name} of {summary} fits nowhere (allowed: {_listed(rooms)}); {remedy}, or name a "
        f"folder with more room than {scratch} as scratch"
    )


def _factors(shapes: Sequence[tuple[int, int]]) -> str:
    """Say how many numbers there are: as factors where all bases are alike, else in all."""
    if len(set(shapes)) > 1:
        return f"{text.prefixed(sum(map(math.prod, shapes)))} numbers of {len(shapes)} matrices"
    ((num_steps, num_params),) = set(shapes)
    probes = [f"{len(shapes)} probes"] * (len(shapes) > 1)
    return " x ".join([*probes, str(num_steps), text.prefixed(num_params)])


def place_of(basis: Tensor) -> str:
    """Tell whether a basis lies on `disk`, or else the type of its device, `cpu` or `cuda`."""
    if basis.device.type == "cpu" and basis.untyped_storage().filename is not None:
        return "disk"
    return basis.device.type


def _room(place: str, device: torch.device, budget: int | None, scratch: Path) -> int:
    if place == "disk":
        scratch.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(scratch).free
    if place == device.type:
        return budget if budget is not None else available_bytes(device) // 2
    return available_bytes(torch.device(place)) // 2


def _on_disk(shape: tuple[int, int], dtype: torch.dtype, scratch: Path) -> Tensor:
    """Map a file that has no name any more once this returns."""
    numbers = shape[0] * shape[1]
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="truehessian-basis-") as file:
        try:
            # Without the blocks in hand, a disk that fills up later would kill the process.
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, numbers * dtype.itemsize)
        except OSError as error:
            raise MemoryError(f"no room for a basis in {scratch}: {error}") from error
        return torch.from_file(file.name, shared=True, size=numbers, dtype=dtype).view(shape)


def _words(place: str) -> str:
    return _WORDS.get(place, f"on the {place} device")


def _listed(rooms: dict[str, int]) -> str:
    return ", ".join(f"{text.size(room)} {_words(place)}" for place, room in rooms.items())
