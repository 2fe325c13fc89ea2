"""How much memory a graph takes, and how much there is."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SavedBytes:
    """Bytes of the distinct storages that autograd has saved for backward passes."""

    def __init__(self, besides: Iterable[Tensor]) -> None:
        self.bytes = 0
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in besides}

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor's storage the first time that it is met, and pass the tensor on."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


@contextmanager
def saved_bytes(besides: Iterable[Tensor] = ()) -> Iterator[SavedBytes]:
    """Count what autograd saves inside the block, on any device, `besides` some tensors."""
    counter = SavedBytes(besides)
    with torch.autograd.graph.saved_tensors_hooks(counter.add, lambda tensor: tensor):
        yield counter


def available_bytes(device: torch.device) -> int:
    """Memory that could still be allocated on a device, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserved
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not a POSIX system: assume a small machine
        return 4 << 30


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch could not allocate memory; on the CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
