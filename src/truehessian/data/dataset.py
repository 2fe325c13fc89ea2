"""A data set: training and test examples, and the file that holds both."""

import os
from typing import NamedTuple

import torch

from truehessian import tensorfile
from truehessian.data.examples import Examples


class Dataset(NamedTuple):
    """Training and test examples of a classification problem, and which augmentation suits them.

    Attributes
    ----------
    name
        Of the source.
    train, test
        The two splits.
    num_classes
        Number of different labels.
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
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, (channels, height, width) of an image."""
        return tuple(self.train.inputs.shape[1:])

    def to(self, device: str | torch.device) -> "Dataset":
        """Copy both sets to a device."""
        return self._replace(train=self.train.to(device), test=self.test.to(device))


def save(path: str | os.PathLike, dataset: Dataset) -> None:
    """Write a data set to one safetensors file; the same data set gives the same bytes."""
    tensors = {
        f"{split}_{kind}": getattr(getattr(dataset, split), kind)
        for split in ("train", "test")
        for kind in ("inputs", "labels")
    }
    metadata = {
        "name": dataset.name,
        "num_classes": str(dataset.num_classes),
        "padding": str(dataset.padding),
        "flip": str(int(dataset.flip)),
        "mean": " ".join(map(repr, dataset.train.mean)),
        "std": " ".join(map(repr, dataset.train.std)),
    }
    tensorfile.save(path, tensors, metadata)


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> Dataset:
    """Read what `save` wrote.

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
        train, test = (
            Examples(tensors[f"{split}_inputs"], tensors[f"{split}_labels"], mean, std)
            for split in ("train", "test")
        )
        return Dataset(
            metadata["name"],
            train,
            test,
            int(metadata["num_classes"]),
            int(metadata["padding"]),
            bool(int(metadata["flip"])),
        )
    except KeyError as error:
        raise ValueError(
            f"{path} is not a data set written by this package: {error} is missing"
        ) from error
