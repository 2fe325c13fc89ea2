"""Networks without memory for their weights."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def built_without_weights() -> Iterator[None]:
    """Build networks on the meta device, where tensors have shapes and no numbers."""
    with torch.device("meta"), _WithoutDraws():
        yield


class _WithoutDraws(TorchFunctionMode):
    """Draw no normal numbers for tensors without memory: that imports the compiler, for seconds."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave a tensor as it is where it would be filled, call everything else."""
        named = dict(kwargs or {})
        filled = args[0] if args else named.get("tensor")
        if func in _DRAWS and isinstance(filled, torch.Tensor) and filled.is_meta:
            return filled
        return func(*args, **named)


_DRAWS = (torch.Tensor.normal_, torch.nn.init.normal_)
