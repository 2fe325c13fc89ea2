"""Precision of the products: float32, TF32 or float64, set for the time of a product only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from truehessian import devices

Precision = Literal["float32", "tf32", "float64"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "float64")


def dtype_of(precision: str) -> torch.dtype:
    """Storage type of a precision: TF32 is float32 with shorter products inside the GPU.

    Raises
    ------
    ValueError
        `precision` is not one of float32, tf32, float64.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Let CUDA use TF32 only if asked to, and only algorithms that give the same bits each time.

    Gradients are on inside, whatever the caller has switched off.
    """
    with (
        devices.deterministic_algorithms(tf32=precision == "tf32"),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield
