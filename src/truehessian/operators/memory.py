"""How much memory a graph takes, and what it is like when there is none."""

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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch could not allocate memory; on the CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
