"""How much memory a graph takes, and what it is like when there is none."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from truehessian import text
from truehessian.devices import available_bytes

logger = logging.getLogger(__name__)

# What graphs are taken for: a product needs memory beside them, and there are gaps.
SLACK = 1.5


class SavedBytes:
    """Bytes of the distinct storages that autograd has saved for backward passes, and how many."""

    def __init__(self, besides: Iterable[Tensor]) -> None:
        self.bytes = self.storages = 0
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in besides}

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor's storage the first time that it is met, and give another view of it."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
            self.storages += 1
        return tensor.detach()  # the tensor itself would hold its graph, which holds it


@contextmanager
def saved_bytes(besides: Iterable[Tensor] = ()) -> Iterator[SavedBytes]:
    """Count what autograd saves inside the block, on any device, `besides` some tensors."""
    counter = SavedBytes(besides)
    with torch.autograd.graph.saved_tensors_hooks(counter.add, lambda tensor: tensor):
        yield counter


def room_for_graphs(budget: int | None, device: torch.device) -> int:
    """Bytes that graphs may take: what is given, or a quarter of what is free."""
    return available_bytes(device) // 4 if budget is None else budget


def graphs_fit(
    bytes_per_example: float, num_examples: int, budget: int | None, device: torch.device
) -> bool:
    """Decide whether the graphs of all examples may be kept; by default in a quarter of the rest.

    They are taken for half as large again, see `SLACK`.
    """
    needed = SLACK * bytes_per_example * num_examples
    budget = room_for_graphs(budget, device)
    logger.info(
        "graphs of %s examples would take %s of a budget of %s: %s",
        text.prefixed(num_examples),
        text.size(needed),
        text.size(budget),
        "kept" if needed <= budget else "made anew for every product",
    )
    return needed <= budget


# What is said where memory is short, by PyTorch and the libraries below, most of it in words only.
_SHORT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED, and the like
    "unable to find a valid cudnn algorithm",
    "unable to find an engine to execute this computation",
    "memory allocation failure",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch, or a library that it calls, could not allocate memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _SHORT_OF_MEMORY)
