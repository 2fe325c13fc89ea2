"""The global generators of PyTorch, NumPy and Python, from which a user's own code may draw."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from truehessian import streams


@contextlib.contextmanager
def seeded(seed: int | None, purpose: str) -> Iterator[None]:
    """Seed all global generators inside the block, and leave them as they were; None: neither."""
    if seed is None:
        yield
        return
    seed = streams.torch_seed(seed, purpose)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (a user's code may use it)
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
