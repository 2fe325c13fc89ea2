"""Names of devices, how they compute, and how much memory they have left."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Files of a control group that hold its limit, what it uses, and the line of memory.stat with the
# part that can be taken back; of version 2 and version 1.
_CONTROL = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def resolve(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device; `auto` is a GPU if there is one.

    Raises
    ------
    ValueError
        A GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} needs a GPU and PyTorch sees none; use device: auto")
    return device


@contextmanager
def deterministic_algorithms(*, tf32: bool) -> Iterator[None]:
    """Let CUDA use TF32 only if asked to, and only algorithms that give the same bits each time.

    PyTorch allows TF32 in convolutions by default, which moves outliers by about 1e-3.
    """
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul


def available_bytes(device: torch.device) -> int:
    """Memory that could still be allocated on a device, in bytes.

    Of the host, what the control group of a SLURM job or a container leaves, if that is less;
    the cache of files counts as free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserved
    return min([_free(), *control_group_rooms()])


def control_group_rooms(root: Path = Path("/")) -> list[int]:
    """Read what each control group above this process has left of its limit, in bytes.

    Parameters
    ----------
    root
        Folder below which `proc` and `sys` lie.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    rooms = []
    for line in lines:
        _, controller, path = line.split(":", 2)
        if controller in _CONTROL:
            mount = root / "sys/fs/cgroup" / controller
            own = mount / path.lstrip("/")
            groups = [own, *(parent for parent in own.parents if parent.is_relative_to(mount))]
            rooms += [room for group in groups if (room := _room(group, controller)) is not None]
    return rooms


def _room(group: Path, controller: str) -> int | None:
    limit, used, reclaimable = _CONTROL[controller]
    try:
        free = int((group / limit).read_text()) - int((group / used).read_text())
        statistics = (group / "memory.stat").read_text().split()
    except (OSError, ValueError):  # no such file, or no limit, which reads "max"
        return None
    values = dict(zip(statistics[::2], statistics[1::2], strict=True))
    return max(free + int(values.get(reclaimable, 0)), 0)


def _free() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not a POSIX system: assume a small machine
        return 4 << 30
