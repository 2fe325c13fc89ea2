"""Sets of examples that a function of the user's own gives: tensors, and map-style data sets."""

import logging
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from truehessian import text
from truehessian.data import trees
from truehessian.data.about import Labelled, mapped
from truehessian.data.examples import separated
from truehessian.data.sources import keeping
from truehessian.data.sources.describing import TARGETS, Leaf, Split
from truehessian.data.trees import Tree

logger = logging.getLogger(__name__)

_WORDS = (*TARGETS, "label")
_BLOCK = 256  # examples that are put together at once
_EVERY = 10.0  # seconds between lines on how far reading has come
_READ_TWICE = 5  # examples, to see whether they are the same again
_FORMS = (
    "a pair (inputs, targets), a mapping with the key 'targets' or 'labels', or a data set with "
    "__len__ and __getitem__"
)


def is_set(value: Any) -> bool:
    """Whether this is a set of examples, and no part of one."""
    if isinstance(value, Mapping):
        return any(word in value for word in _WORDS)
    return (isinstance(value, tuple) and len(value) == 2) or _is_map_style(value)


def as_set(where: str, name: str, value: Any) -> "TensorSet | MapStyle":
    """Find out what kind of set this is.

    Parameters
    ----------
    where
        What gives it, for errors.
    name
        "train_", "test_", or "" of data that come in one piece.
    value
        The set.

    Raises
    ------
    ValueError
        It is none.
    """
    if _is_map_style(value):
        return MapStyle(where, name, value)
    pair = _pair(value)
    if pair is None:
        raise ValueError(
            f"{where}: {name or 'its '}examples must be {_FORMS}, got a {type(value).__name__}"
        )
    return TensorSet(where, name, *pair)


class TensorSet:
    """Tensors or arrays whose first axis counts the examples."""

    class_names: tuple[str, ...] = ()

    def __init__(self, where: str, name: str, inputs: Any, targets: Any) -> None:
        self.split = Split(name, None, None)
        self._inputs, self._targets = (_tensors(where, each) for each in (inputs, targets))
        self.split = Split(name, *(leaves(each) for each in (self._inputs, self._targets)))

    def read(self) -> Labelled:
        """Give both, in the types in which they are kept."""
        return keeping.inputs(self._inputs), keeping.targets(self._targets)


class MapStyle:
    """A data set with `__len__` and `__getitem__`, as PyTorch's `DataLoader` takes them."""

    def __init__(self, where: str, name: str, data: Any) -> None:
        self._where = f"{where}: {name.removesuffix('_') or 'its'} examples"
        self._name = name
        self._data = data
        if not len(data):
            raise ValueError(f"{self._where} must be at least one, and there is none")

    @cached_property
    def split(self) -> Split:
        """Describe all examples by the first one."""
        inputs, targets = self._block(0, 1)
        described = [
            mapped(leaves(tree), lambda leaf: self._of_all(leaf), lambda x: isinstance(x, Leaf))
            for tree in (inputs, targets)
        ]
        return Split(self._name, *described)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the set calls its classes, if it says it."""
        classes = getattr(self._data, "classes", None)
        return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()

    def read(self) -> Labelled:
        """Read all examples, once and in order, and a few of them again."""
        inputs, targets = self._all
        return keeping.inputs(inputs), keeping.targets(targets)

    @cached_property
    def _all(self) -> tuple[Tree, Tree]:
        blocks: list[tuple[Tree, Tree]] = []
        count, last = len(self._data), time.monotonic()
        with tqdm(total=count, desc=self._where, disable=None) as bar:  # in a terminal only
            for begin in range(0, count, _BLOCK):
                done = min(begin + _BLOCK, count)
                blocks.append(self._block(begin, done))
                bar.update(done - begin)
                if bar.disable and time.monotonic() - last > _EVERY:
                    last = time.monotonic()
                    logger.info("%s: %d of %d are read", self._where, done, count)
        read = self._joined(blocks)
        self._check_again(read)
        return read

    def _joined(self, blocks: list[tuple[Tree, Tree]]) -> tuple[Tree, Tree]:
        try:
            inputs, targets = (trees.joined(list(part)) for part in zip(*blocks, strict=True))
        except (RuntimeError, StopIteration, TypeError) as error:
            raise ValueError(_not_alike(self._where, error)) from error
        return inputs, targets

    def _block(self, begin: int, end: int) -> tuple[Tree, Tree]:
        """Put some examples together."""
        pairs = [self._example(number) for number in range(begin, end)]
        try:
            inputs, targets = (default_collate(list(part)) for part in zip(*pairs, strict=True))
        except (RuntimeError, TypeError, KeyError) as error:
            raise ValueError(_not_alike(self._where, error)) from error
        return _tensors(self._where, inputs), _tensors(self._where, targets)

    def _example(self, number: int) -> tuple[Any, Any]:
        try:
            example = self._data[number]
        except Exception as error:
            raise ValueError(
                f"{self._where}: reading number {number} fails ({text.exception(error)})"
            ) from error
        pair = _pair(example)
        if pair is None:
            raise ValueError(
                f"{self._where} must each be a pair (input, target), or a mapping with the key "
                f"'targets' or 'labels', got a {type(example).__name__}"
                + (f" of {len(example)}" if isinstance(example, tuple | list) else "")
                + (f" of {', '.join(map(str, example))}" if isinstance(example, Mapping) else "")
            )
        return _plain(pair[0]), _plain(pair[1])

    def _of_all(self, leaf: Leaf) -> Leaf:
        return Leaf((len(self._data), *leaf.shape[1:]), leaf.dtype, self._bounds, costly=True)

    def _bounds(self) -> tuple[int, int]:
        """Find the classes from what the set says of itself, or by reading all of it."""
        if self.class_names:
            return 0, len(self.class_names) - 1
        for word in TARGETS:
            known = getattr(self._data, word, None)
            if isinstance(known, list | tuple | np.ndarray | Tensor) and len(known):
                numbers = torch.as_tensor(known)
                return int(numbers.min()), int(numbers.max())
        logger.warning(
            "%s are all read to find the number of classes; a factory that gives a mapping with "
            "train, test and num_classes saves that",
            self._where,
        )
        _, targets = self._all
        return int(targets.min()), int(targets.max())

    def _check_again(self, read: tuple[Tree, Tree]) -> None:
        """Warn of a set that gives other examples each time."""
        count = len(self._data)
        for number in sorted({int(each) for each in np.linspace(0, count - 1, _READ_TWICE)}):
            kept = [trees.rows(tree, slice(number, number + 1)) for tree in read]
            again = self._block(number, number + 1)
            for old, new in zip(
                map(trees.tensors_of, kept), map(trees.tensors_of, again), strict=True
            ):
                if not all(map(_same, old, new)):
                    logger.warning(
                        "%s: number %d is another one when it is read again, perhaps because the "
                        "set draws at random how it is cropped or mirrored; kept is what came "
                        "first, so leave such transforms out and see `dataset.augmentation`",
                        self._where,
                        number,
                    )
                    return


def leaves(tree: Tree) -> Any:
    """Describe the tensors of a tree."""
    return trees.mapped(tree, keeping.leaf_of)


def _is_map_style(value: Any) -> bool:
    if isinstance(value, Mapping | tuple | str | Tensor | np.ndarray):
        return False
    return all(hasattr(value, method) for method in ("__len__", "__getitem__"))


def _pair(value: Any) -> tuple[Any, Any] | None:
    """Separate inputs from targets; None where that cannot be done, or there are no inputs."""
    pair = separated(value, _WORDS)
    lacks_inputs = isinstance(value, Mapping) and pair is not None and not pair[0]
    return None if lacks_inputs else pair


def _plain(value: Any) -> Any:
    """Make tensors of pictures, which `default_collate` does not know."""
    if type(value).__module__.startswith("PIL."):
        from torchvision.transforms.functional import pil_to_tensor

        return pil_to_tensor(value)
    return value


def _tensors(where: str, tree: Any) -> Tree:
    """Make tensors of arrays, dictionaries of mappings and tuples of lists; refuse what is else."""

    def tensor(leaf: Any) -> Tensor:
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf":
            leaf = torch.from_numpy(leaf.astype(leaf.dtype.newbyteorder("="), copy=False))
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"{where} must hold tensors or numbers, got a {_kind(leaf)}; leave it out or "
                "make numbers of it"
            )
        return leaf.detach().cpu()

    if isinstance(tree, Mapping):
        return {str(key): _tensors(where, value) for key, value in tree.items()}
    if isinstance(tree, tuple | list) and not _all_text(tree):
        return tuple(_tensors(where, value) for value in tree)
    return tensor(tree)


def _all_text(tree: Any) -> bool:
    return bool(tree) and all(isinstance(each, str) for each in tree)


def _kind(value: Any) -> str:
    return type(value[0] if isinstance(value, tuple | list) else value).__name__


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(
        ((one == other) | ((one != one) & (other != other))).all()
    )


def _not_alike(where: str, error: Exception) -> str:
    return (
        f"{where} cannot be put together ({text.exception(error)}); give all of them the same "
        "keys, types and shapes, such as by padding"
    )
