"""A product with the Hessian of a few examples, tried and timed on the device at hand."""

import time
from typing import Any, NamedTuple

import torch

from truehessian import devices
from truehessian.data.examples import Examples
from truehessian.operators.diagnosis import ComputationError
from truehessian.operators.hessian import Hessian
from truehessian.operators.memory import graphs_fit, saved_bytes
from truehessian.pipeline.config.fields import Chosen
from truehessian.pipeline.init.data import Data
from truehessian.pipeline.init.network import Network, some

_FIRST = 4  # examples of the first product, which shows how many a longer one may have
_SECONDS = 2.5  # that a product of as many examples as a chunk has may take, or fewer are taken
_TIMES = 5  # that it is timed at most
_CHUNKS = {"cpu": 256, "cuda": 512}  # examples per forward pass, at most
_SHARE = 0.25  # of the free memory that the graph of a chunk may take
_BESIDE = 1.5  # a product needs memory beside its graph, and there are gaps


class Trial(NamedTuple):
    """What a product took.

    Attributes
    ----------
    device
        Where.
    rate
        Examples per second of a product, graphs kept if those of all examples would be.
    examples
        How many it was timed on.
    graph_bytes
        Of the graph of an example; 0 where it could not be counted.
    chunk_size
        Examples per forward pass for which the memory suffices.
    kept
        Whether the graphs of all training examples would be kept between products.
    per_pass
        Seconds of a pass through the graph of some examples that do not depend on their number.
    """

    device: torch.device
    rate: float
    examples: int
    graph_bytes: float
    chunk_size: int
    kept: bool
    per_pass: float = 0.0

    def seconds(self, passes: int, examples: int) -> float:
        """Seconds of passes through so many examples in all."""
        per_example = max(1 / self.rate - self.per_pass / self.examples, 0.0)
        return passes * self.per_pass + examples * per_example

    def graphs(self, num_examples: int) -> float:
        """Bytes of the graphs that are held at once."""
        held = num_examples if self.kept else min(self.chunk_size, num_examples)
        return _BESIDE * self.graph_bytes * held


def timed(
    network: Network, data: Data, loss: Any, parameters: Chosen | None, device: torch.device
) -> Trial:
    """Multiply with the Hessian of some training examples, in float32.

    Raises
    ------
    ValueError
        There is no such product; the sentence says why.
    """
    total = len(data.examples.train)
    how: dict[str, Any] = {"loss": loss, "parameters": parameters, "device": device}
    try:
        few = some(data, _FIRST).to(device)
        operator = Hessian(network.module, few, chunk_size=_FIRST, memory=0, **how)
        vector = torch.ones(operator.num_params, device=device)
        operator.matvec(vector)  # looks at the examples
        per_example = _graph_bytes(operator, few, vector)
        kept = graphs_fit(per_example, total, None, device)
        how["memory"] = None if kept else 0
        chunk_size = _chunk_size(per_example, device, total)
        number, seconds = len(few), _seconds(Hessian(network.module, few, **how), vector)
        first = seconds
        # Of few examples a product takes far longer for each, above all on a busy machine.
        while number < chunk_size and seconds < _SECONDS:
            number = min(chunk_size, int(number * min(max(2 * _SECONDS / seconds, 2), 16)))
            many = some(data, number).to(device)
            seconds = _seconds(Hessian(network.module, many, chunk_size=number, **how), vector)
    except (ComputationError, NotImplementedError, FloatingPointError, TypeError) as error:
        raise ValueError(str(error)) from error
    per_pass = 0.0
    if number > len(few):
        slope = max(seconds - first, 0.0) / (number - len(few))
        per_pass = max(first - slope * len(few), 0.0)
    rate = number / seconds
    return Trial(device, rate, number, per_example, chunk_size, kept, per_pass)


def _seconds(operator: Hessian, vector: torch.Tensor) -> float:
    """Time a product after the first ones, which look at the examples: the fastest of some."""
    operator.matvec(vector)
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < _TIMES and sum(taken) < _SECONDS):
        begin = time.perf_counter()
        operator.matvec(vector).norm().item()  # waits for a GPU
        taken.append(time.perf_counter() - begin)
    return max(min(taken), 1e-6)


def _graph_bytes(operator: Hessian, examples: Examples, vector: torch.Tensor) -> float:
    try:
        with saved_bytes(besides=operator.network.leaves) as saved:
            operator.matvec(vector)
    except ComputationError:  # `torch.func` within the network takes no hooks that count
        return 0.0
    return saved.bytes / len(examples)


def _chunk_size(per_example: float, device: torch.device, total: int) -> int:
    """Take the largest power of two that the memory suffices for, and that there are examples."""
    room = _SHARE * devices.available_bytes(device)
    most = min(_CHUNKS.get(device.type, 256), total, int(room / max(_BESIDE * per_example, 1.0)))
    return int(2 ** (max(most, 1).bit_length() - 1))
