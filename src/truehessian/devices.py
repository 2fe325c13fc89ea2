"""Names of devices, how they compute, who uses them, and how much memory they have left."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import psutil
import torch

logger = logging.getLogger(__name__)

# Files of a control group that hold its limit, what it uses, and the line of memory.stat with the
# part that can be taken back; of version 2 and version 1.
_CONTROL = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
_POLL = 1.0  # seconds between two looks for a free GPU
_claimed: dict[str, filelock.BaseFileLock] = {}  # by GPU, until the process ends


def resolve(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device; `auto` is a GPU if there is one.

    Returns
    -------
    torch.device
        A GPU with its index, as tensors name theirs: `cuda` and `cuda:0` are not equal.

    Raises
    ------
    ValueError
        Not the name of a device, or a GPU is asked for that PyTorch does not see.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return numbered(name)


def numbered(name: str | torch.device) -> torch.device:
    """Give a device with its index, as `resolve` does, but for `auto`."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:1, got {name!r}") from error
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise ValueError(f"device {name!r} needs a GPU and PyTorch sees none; use device: auto")
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there: PyTorch sees {torch.cuda.device_count()} GPU(s), "
            "counted from cuda:0; use device: auto"
        )
    return torch.device("cuda", index)


def claim(name: str, folder: Path | None = None) -> torch.device:
    """Turn a name into a device as `resolve` does, and keep a GPU from other jobs of this machine.

    With `auto` or `cuda` it is a GPU that no other job of the same user has claimed; while there is
    none, this waits. One that is named with its index, such as `cuda:1`, is shared if need be. The
    claim ends with the process; a second one in the same process gives the same device.

    Parameters
    ----------
    name
        As of `resolve`.
    folder
        Where the locks lie, one per physical GPU; the user's folder for the time that the machine
        runs by default.

    Raises
    ------
    ValueError
        As `resolve`.
    """
    device = resolve(name)
    if device.type != "cuda":
        return device
    folder = folder or platformdirs.user_runtime_path("truehessian")
    if torch.device("cuda" if name == "auto" else name).index is None:
        device = _free_gpu(folder)
    elif not _claim(device, folder):
        logger.info("%s is used by another job of this machine, too", device)
    torch.cuda.set_device(device)
    return device


def _free_gpu(folder: Path) -> torch.device:
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    devices.sort(key=lambda device: _identity(device) not in _claimed)  # our own first
    waiting = False
    while True:
        for device in devices:
            if _claim(device, folder):
                return device
        if not waiting:
            logger.info("waiting for a GPU: other jobs of this machine use all %d", len(devices))
            waiting = True
        time.sleep(_POLL)


def _claim(device: torch.device, folder: Path) -> bool:
    """Try to be the only process with this GPU; where nothing can be locked, take it for free."""
    identity = _identity(device)
    if identity in _claimed:
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f"{identity}.lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        logger.warning("%s cannot be kept from other jobs of this machine: %s", device, error)
        return True
    _claimed[identity] = lock
    return True


def _identity(device: torch.device) -> str:
    """Name of a physical GPU, whatever number it has in this process."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    if uuid is not None:
        return f"gpu-{uuid}"
    visible = [entry for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry]
    entry = visible[device.index] if device.index < len(visible) else device.index
    return f"gpu-{entry}".replace("/", "-")


@contextmanager
def deterministic_algorithms(*, tf32: bool) -> Iterator[None]:
    """Compute in float32 or, if asked to, in TF32, and by algorithms that repeat to the bit.

    PyTorch allows TF32 in convolutions by default, which moves outliers by about 1e-3, and whoever
    calls may have allowed it, or bfloat16 on a CPU, in matrix products. Their switches are as they
    were afterwards; whether cuDNN is used at all is left to them.
    """
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with _float32_precision("tf32" if tf32 else "ieee"):
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags


@contextmanager
def _float32_precision(on_gpu: str) -> Iterator[None]:
    """Set the precision of float32 kernels; that of the CPU is always full.

    By `fp32_precision` only: to mix it with the older `allow_tf32` makes PyTorch raise.
    """
    backends: Any = torch.backends
    above = [backends, backends.cudnn]  # a kernel follows these if it says "none"
    gpu = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    cpu = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    before = _own_precisions(above, [*gpu, *cpu])
    _set_precisions(gpu, [on_gpu] * len(gpu))
    _set_precisions(cpu, ["ieee"] * len(cpu))
    try:
        yield
    finally:
        _set_precisions([*gpu, *cpu], before)


def _own_precisions(above: Sequence[Any], kernels: Sequence[Any]) -> list[str]:
    """Read what kernels say themselves, where reading gives what they follow."""
    if all(module.fp32_precision == "none" for module in above):
        return [kernel.fp32_precision for kernel in kernels]
    said = []
    for module in above:
        said.append(module.fp32_precision)
        module.fp32_precision = "none"
    own = [kernel.fp32_precision for kernel in kernels]
    _set_precisions(above, said)
    return own


def _set_precisions(modules: Sequence[Any], precisions: Sequence[str]) -> None:
    for module, precision in zip(modules, precisions, strict=True):
        module.fp32_precision = precision


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Do without cuDNN, whose recurrent layers have no second derivatives.

    In evaluation mode they have not even first ones.
    """
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


def available_bytes(device: torch.device) -> int:
    """Memory that could still be allocated on a device, in bytes.

    Of the host, what the control group of a SLURM job or a container leaves, if that is less;
    the cache of files counts as free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserved
    return min([psutil.virtual_memory().available, *control_group_rooms()])


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
