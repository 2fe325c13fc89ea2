"""A data set: training and test examples, and the file that holds both."""

import json
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian import tensorfile
from truehessian.data import trees
from truehessian.data.about import Shape
from truehessian.data.examples import Examples
from truehessian.data.trees import Tree

_PARTS = [(split, kind) for split in ("train", "test") for kind in ("inputs", "targets")]


class Dataset(NamedTuple):
    """Training and test examples of a problem, and which augmentation suits them.

    Attributes
    ----------
    name
        Of the source.
    train, test
        The two splits.
    num_classes
        Number of outputs that a network needs: of classes, or of numbers to predict.
    padding, flip
        As in `catalogue.DatasetInfo`.
    """

    name: str
    train: Examples
    test: Examples
    num_classes: int
    padding: int
    flip: bool

    @property
    def input_shape(self) -> Shape:
        """Shapes of one example's inputs; see `shape_of`."""
        return shape_of(self.train.inputs)

    def to(self, device: str | torch.device) -> "Dataset":
        """Copy both sets to a device."""
        return self._replace(train=self.train.to(device), test=self.test.to(device))


def shape_of(inputs: Tree) -> Shape:
    """Give the shape of one example, (channels, height, width) of an image; of a tree, a tree."""
    shape: Shape = trees.mapped(inputs, lambda tensor: tuple(tensor.shape[1:]))
    return shape


def save(path: str | os.PathLike, dataset: Dataset) -> None:
    """Write a data set to one safetensors file; the same data set gives the same bytes.

    Raises
    ------
    ValueError
        Two tensors of a split would have the same name.
    """
    tensors: dict[str, Tensor] = {}
    structure = {}
    for split, kind in _PARTS:
        name = f"{split}_{kind}"
        tree = getattr(getattr(dataset, split), kind)
        leaves = list(trees.named(tree, name))
        if len(dict(leaves)) < len(leaves):
            raise ValueError(f"keys of {kind} must not hold dots, got {[key for key, _ in leaves]}")
        tensors |= leaves
        structure[name] = _names(tree, name)
    metadata = {
        "name": dataset.name,
        "num_classes": str(dataset.num_classes),
        "padding": str(dataset.padding),
        "flip": str(int(dataset.flip)),
        "mean": " ".join(map(repr, dataset.train.mean)),
        "std": " ".join(map(repr, dataset.train.std)),
        "structure": json.dumps(structure),
    }
    tensorfile.save(path, tensors, metadata)


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> Dataset:
    """Read what `save` wrote; lists come back as tuples.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or holds something else.
    """
    tensors, metadata = tensorfile.load(path, device)
    try:
        mean = tuple(map(float, metadata["mean"].split()))
        std = tuple(map(float, metadata["std"].split()))
        structure = json.loads(metadata["structure"])
        parts = [_rebuilt(structure[f"{split}_{kind}"], tensors) for split, kind in _PARTS]
        return Dataset(
            metadata["name"],
            Examples(parts[0], parts[1], mean, std),
            Examples(parts[2], parts[3], mean, std),
            int(metadata["num_classes"]),
            int(metadata["padding"]),
            bool(int(metadata["flip"])),
        )
    except KeyError as error:
        raise ValueError(
            f"{path} is not a data set written by this package: {error} is missing"
        ) from error


def _names(tree: Tree, name: str) -> Tree:
    """Put names in the place of tensors."""
    names = iter(list(trees.named(tree, name)))
    return trees.mapped(tree, lambda _: next(names)[0])


def _rebuilt(structure: Any, tensors: dict[str, Tensor]) -> Tree:
    """Put tensors in the place of their names."""
    if isinstance(structure, str):
        return tensors[structure]
    if isinstance(structure, dict):
        return {key: _rebuilt(branch, tensors) for key, branch in structure.items()}
    return tuple(_rebuilt(branch, tensors) for branch in structure)
