"""The data of an operator: a fixed, ordered set of examples, met in chunks of fixed membership."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Data(Protocol):
    """Anything that holds a fixed, ordered set of labelled examples."""

    @property
    def num_examples(self) -> int:
        """How many examples there are."""

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over (inputs, targets) in the same order and with the same bits every time."""


class TensorData:
    """Inputs and targets as two tensors whose first axis counts examples."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = _pair((inputs, targets))

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return len(self.inputs)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut both tensors into chunks of `size`, the last one short; floats become `dtype`."""
        for begin in range(0, len(self.inputs), size):
            inputs, targets = self.inputs[begin : begin + size], self.targets[begin : begin + size]
            yield cast(inputs, dtype), cast(targets, dtype)


class BatchData:
    """A list of batches (inputs, targets), taken as they are: `chunk_size` does not apply."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = [batch for batch in map(_pair, batches) if len(batch[0])]

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each batch."""
        return [len(inputs) for inputs, _ in self.batches]

    @property
    def num_examples(self) -> int:
        """How many examples there are in all batches."""
        return sum(self.sizes)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches; `size` is theirs, not the caller's."""
        del size
        for inputs, targets in self.batches:
            yield cast(inputs, dtype), cast(targets, dtype)


class Stream:
    """A loader that is gone through anew at every product, for data that memory cannot hold.

    The first pass counts the examples and notes a sum over each; every later one is compared.

    Parameters
    ----------
    loader
        Can be iterated over again and again; gives the same batches (inputs, targets) each time,
        taken as they are: `chunk_size` does not apply.

    Raises
    ------
    TypeError
        `loader` is an iterator, which can be gone through only once.
    ValueError
        A later pass gives other batches than the first.
    """

    def __init__(self, loader: Iterable[tuple[Tensor, Tensor]]) -> None:
        if isinstance(loader, Iterator):
            raise TypeError("loader must be iterable again and again, got an iterator")
        self.loader = loader
        self._sums: list[Tensor] = []
        self._known = False
        for _ in self.chunks(0, torch.float32):
            pass

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each batch."""
        return [len(sums) for sums in self._sums]

    @property
    def num_examples(self) -> int:
        """How many examples there are in all batches."""
        return sum(self.sizes)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches; `size` is theirs, not the caller's."""
        del size
        number = -1
        for number, batch in enumerate(self.loader):
            inputs, targets = _pair(batch)
            self._compare(number, _sums(inputs) + 1e3 * _sums(targets))
            yield cast(inputs, dtype), cast(targets, dtype)
        if number + 1 != len(self._sums):
            raise ValueError(
                f"the loader gave {number + 1} batches and {len(self._sums)} the time before; it "
                "must give the same ones every time"
            )
        self._known = True

    def _compare(self, number: int, sums: Tensor) -> None:
        if not self._known:
            self._sums.append(sums)
            return
        if number < len(self._sums) and torch.equal(sums, self._sums[number]):
            return
        everything = torch.cat(self._sums)
        if bool(torch.isin(sums, everything).all()):
            cause = "the order of the examples changes; switch shuffling off"
        else:
            cause = "the examples change; switch random augmentation off, or fix it beforehand"
        raise ValueError(
            f"batch {number + 1} differs from what the loader gave the time before, so that there "
            f"is no fixed matrix: {cause}"
        )


def as_data(data: object) -> Data:
    """Accept examples, a pair of tensors, or an iterable of batches.

    An iterable is gone through once and kept: a loader that shuffles or augments anew at every
    pass would not be a matrix. `Stream` goes through it again and again instead.

    Raises
    ------
    TypeError
        `data` is none of these.
    ValueError
        There are no examples.
    """
    result: Data
    if isinstance(data, Data):
        result = data
    elif isinstance(data, tuple | list) and len(data) == 2 and not _are_batches(data):
        result = TensorData(*data)
    elif hasattr(data, "__iter__") and not isinstance(data, Tensor | Mapping | str):
        result = BatchData(list(data))
    else:
        raise TypeError(
            "data must be examples, a pair of tensors (inputs, targets) or an iterable of such "
            f"pairs, such as a torch DataLoader of a data set; got {_described(data)}"
        )
    if result.num_examples == 0:
        raise ValueError("data must hold at least one example, got none")
    return result


def _are_batches(data: Sequence[Any]) -> bool:
    return all(isinstance(item, tuple | list | Mapping) for item in data)


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Accept one batch of labelled examples.

    Raises
    ------
    TypeError
        It is not a pair of tensors.
    ValueError
        Inputs and targets do not go together.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(
            "a batch must be a pair of tensors (inputs, targets) whose first axis counts examples, "
            f"got {_described(batch)}; pick the two beforehand"
        )
    for name, tensor in zip(("inputs", "targets"), batch, strict=True):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name} must be a tensor whose first axis counts examples, got "
                f"{_described(tensor)}; torch.as_tensor makes one of an array or a list"
            )
        if tensor.ndim == 0:
            raise ValueError(
                f"{name} must have a first axis that counts examples, got a single number; single "
                "examples, as data sets give them, become batches in a torch DataLoader"
            )
    inputs, targets = batch
    if len(inputs) != len(targets):
        raise ValueError(f"inputs and targets differ in length: {len(inputs)} and {len(targets)}")
    return _usable(inputs), _usable(targets)


def _usable(tensor: Tensor) -> Tensor:
    """Take off what autograd would stumble over: a graph, a subclass, inference mode."""
    with torch.inference_mode(False):
        tensor = tensor.detach().as_subclass(Tensor)
        return tensor.clone() if tensor.is_inference() else tensor


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(repr, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring real numbers into a precision; whole ones stay what they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _sums(tensor: Tensor) -> Tensor:
    """Sum each example's numbers, weighted by their position; shape (B,), float64, on the CPU."""
    flat = tensor.detach().double().reshape(len(tensor), -1)
    return (flat @ torch.linspace(1, 2, flat.shape[1], dtype=flat.dtype, device=flat.device)).cpu()
