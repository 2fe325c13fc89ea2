"""Products of a kept graph as one CUDA graph: a GPU goes through them without waiting for Python.

A product by a graph that is kept does the same work for every vector. From the third one on it is
recorded once, with a vector that stays where it is, and replayed. Before a recording is used it is
compared with the product that it replaces.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from truehessian.operators.diagnosis import words

logger = logging.getLogger(__name__)

# Switches recordings off where it is "0".
VARIABLE = "TRUEHESSIAN_CUDA_GRAPHS"
# Products before one is recorded: libraries choose their kernels, and take memory, in the first.
_WARM = 2

Apply = Callable[[list[Tensor]], Sequence[Tensor]]


class Recorder(Protocol):
    """Records what a function starts on a device."""

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Make graphs, and multiply, where recordings are made."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Call a function and give what does the same again, on the same memory."""


class CudaRecorder:
    """Records as a CUDA graph what a function starts on a stream of its own.

    Backward passes run on the stream of what they differentiate, and none that is not recorded may
    take part: so graphs are made on that stream as well.

    Parameters
    ----------
    device
        A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None  # of memory, which all recordings share

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Change to the stream; what is there before is finished first, and so is what follows."""
        outside = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            yield
        outside.wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Call a function and give what does the same again, on the same memory."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        self._pool = graph.pool()
        return graph.replay


def aside(recorder: Recorder | None) -> contextlib.AbstractContextManager[None]:
    """Make graphs, and multiply, where a recorder does, if there is one."""
    return contextlib.nullcontext() if recorder is None else recorder.aside()


def recorder_of(device: torch.device) -> Recorder | None:
    """Make what records on a device; None where nothing does, or `VARIABLE` says so."""
    if device.type != "cuda" or not torch.cuda.is_initialized():
        return None
    return None if os.environ.get(VARIABLE) == "0" else CudaRecorder(device)


class Replay:
    """A product by a kept graph, made as it is at first and replayed from a recording later.

    Parameters
    ----------
    apply
        Multiplies with a vector as a list of tensors, and keeps the graph.
    recorder
        Records it; None, and all products are made as they are.
    """

    def __init__(self, apply: Apply, recorder: Recorder | None) -> None:
        self._apply, self._recorder = apply, recorder
        self._made = 0
        self._run: Callable[[], None] | None = None
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []

    def __call__(self, vector: list[Tensor]) -> Sequence[Tensor]:
        """Multiply; what is given is overwritten by the next product."""
        if self._run is None and self._recorder is not None and self._made == _WARM:
            self._record(self._recorder, vector)
        self._made += 1
        if self._run is None:
            return self._apply(vector)
        for own, part in zip(self._inputs, vector, strict=True):
            own.copy_(part)
        self._run()
        return self._outputs

    def _record(self, recorder: Recorder, vector: list[Tensor]) -> None:
        self._inputs = [part.clone() for part in vector]
        expected = [part.clone() for part in self._apply(self._inputs)]

        def product() -> None:
            self._outputs = list(self._apply(self._inputs))

        try:
            run = recorder.record(product)
        except Exception as error:  # whatever it is, products can be made without
            logger.warning("products are not recorded: %s", words(error))
            self._forget()
            return
        for own in self._inputs:
            own.mul_(-2.0)  # exact, and so is the change of the product
        run()
        if not _agree(self._outputs, [-2.0 * part for part in expected]):
            logger.warning("products are not recorded, since a replayed one is another")
            self._forget()
            return
        self._run = run

    def _forget(self) -> None:
        self._inputs, self._outputs = [], []


def _agree(replayed: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether products are the same but for the order of summation."""
    size = torch.stack([part.double().norm() for part in expected]).norm()
    pairs = zip(replayed, expected, strict=True)
    apart = torch.stack([(one - other).double().norm() for one, other in pairs]).norm()
    tolerance = 1e2 * torch.finfo(expected[0].dtype).eps * size
    return bool(apart <= tolerance) or not bool(torch.isfinite(size))
