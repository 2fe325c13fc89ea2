"""The data of an operator: a fixed, ordered set of examples, met in chunks of fixed membership."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.examples import chunk_slices, separated
from truehessian.data.trees import Tree, cast

Pair: TypeAlias = tuple[Tree, Tree]  # inputs and targets


@runtime_checkable
class Data(Protocol):
    """Anything that holds a fixed, ordered set of labelled examples."""

    @property
    def num_examples(self) -> int:
        """How many examples there are."""

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[Pair]:
        """Iterate over (inputs, targets) in the same order and with the same bits every time."""


class TensorData:
    """Inputs and targets as two trees of tensors whose first axes count examples."""

    def __init__(self, inputs: Tree, targets: Tree) -> None:
        self.inputs, self.targets = _pair((inputs, targets))

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return trees.count(self.targets)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[Pair]:
        """Cut both into chunks of `size`, the last one short; floats become `dtype`."""
        parts = zip(trees.split(self.inputs, size), trees.split(self.targets, size), strict=True)
        for inputs, targets in parts:
            yield cast(inputs, dtype), cast(targets, dtype)

    def subset(self, order: Tensor) -> "TensorData":
        """Take some examples, in the order of their positions."""
        return TensorData(trees.rows(self.inputs, order), trees.rows(self.targets, order))


class BatchData:
    """A list of batches (inputs, targets), taken as they are: `chunk_size` does not apply."""

    def __init__(self, batches: list[Pair]) -> None:
        self.batches = [batch for batch in map(_pair, batches) if trees.count(batch[1])]

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each batch."""
        return [trees.count(targets) for _, targets in self.batches]

    @property
    def num_examples(self) -> int:
        """How many examples there are in all batches."""
        return sum(self.sizes)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[Pair]:
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

    def __init__(self, loader: Iterable[Pair]) -> None:
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

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[Pair]:
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


def chunk_sizes(data: Data, chunk_size: int) -> list[int]:
    """Count the examples of each chunk: of batches as they are, or `chunk_size`, the last short."""
    own = getattr(data, "sizes", None)
    if own is not None:
        return list(own)
    slices = chunk_slices(data.num_examples, chunk_size)
    return [chunk.stop - chunk.start for chunk in slices]


def as_data(data: object) -> Data:
    """Accept examples, a pair (inputs, targets), a mapping of both, or an iterable of batches.

    Inputs and targets are trees of tensors. A mapping that holds `labels` or `targets` has them
    beside its inputs.

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
    elif separated(data) is not None and not _are_batches(data):
        result = TensorData(*_pair(data))
    elif hasattr(data, "__iter__") and not isinstance(data, Tensor | Mapping | str):
        result = BatchData(list(data))
    else:
        raise TypeError(
            "data must be examples, a pair of tensors (inputs, targets), a mapping that holds "
            "'labels' beside the inputs, or an iterable of such batches, such as a torch "
            f"DataLoader of a data set; got {_described(data)}"
        )
    if result.num_examples == 0:
        raise ValueError("data must hold at least one example, got none")
    return result


def _are_batches(data: Any) -> bool:
    """Whether two things are batches rather than inputs and targets."""
    return isinstance(data, tuple | list) and all(separated(item) is not None for item in data)


def _pair(batch: Any) -> Pair:
    """Accept one batch of labelled examples.

    Raises
    ------
    TypeError
        It does not hold inputs and targets, or these are no tensors.
    ValueError
        Inputs and targets do not go together.
    """
    pair = separated(batch)
    if pair is None:
        raise TypeError(
            "a batch must be a pair of tensors (inputs, targets) whose first axis counts examples, "
            "of which the inputs may be a tuple or a mapping, or a mapping that holds 'labels' "
            f"beside the inputs; got {_described(batch)}; pick the two beforehand"
        )
    inputs, targets = pair
    lengths = {}
    for name, leaf in trees.named({"inputs": inputs, "targets": targets}):
        if not isinstance(leaf, Tensor):
            raise TypeError(
                f"{name} must be a tensor whose first axis counts examples, got "
                f"{_described(leaf)}; torch.as_tensor makes one of an array or a list"
            )
        if leaf.ndim == 0:
            raise ValueError(
                f"{name} must have a first axis that counts examples, got a single number; single "
                "examples, as data sets give them, become batches in a torch DataLoader"
            )
        lengths[name] = len(leaf)
    if len(set(lengths.values())) > 1:
        names, counts = (
            " and ".join(map(str, part)) for part in zip(*lengths.items(), strict=True)
        )
        raise ValueError(f"{names} differ in length: {counts}")
    if not trees.tensors_of(inputs) or not trees.tensors_of(targets):
        raise TypeError(f"a batch must hold inputs and targets, got {_described(pair)}")
    return trees.mapped(inputs, _usable), trees.mapped(targets, _usable)


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


def _sums(tree: Tree) -> Tensor:
    """Sum each example's numbers, weighted by their position; shape (B,), float64, on the CPU."""
    sums: list[Tensor] = []
    for tensor in trees.tensors_of(tree):
        flat = tensor.detach().double().reshape(len(tensor), -1)
        position = torch.linspace(1, 2, flat.shape[1], dtype=flat.dtype, device=flat.device)
        sums.append((flat @ position).cpu())
    return torch.stack([own * (1 + number) for number, own in enumerate(sums)]).sum(0)
