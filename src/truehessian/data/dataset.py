"""Image classification data sets: a catalogue, where they come from, and files of our own."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from truehessian import streams, tensorfile
from truehessian.data.examples import Examples


class DatasetInfo(NamedTuple):
    """What is known of a data set before it is loaded.

    `input_shape` is (channels, height, width). `num_test` is None where the data come as one set of
    `num_train` examples that `fetch` splits. `padding` (pixels) and `flip` say which augmentation
    suits the data. `mean` and `std` hold one value per channel, in units where 255 is 1.
    """

    num_classes: int
    input_shape: tuple[int, int, int]
    num_train: int
    num_test: int | None
    padding: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


CATALOGUE: dict[str, DatasetInfo] = {
    # The digits' grey values 0..16 are stored as 0, 15, ..., 240; mean and std are in these units.
    "digits": DatasetInfo(10, (1, 8, 8), 1797, None, 1, False, (0.2873,), (0.3539,)),
    "cifar10": DatasetInfo(
        10, (3, 32, 32), 50000, 10000, 4, True, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    ),
    "cifar100": DatasetInfo(
        100, (3, 32, 32), 50000, 10000, 4, True, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    ),
    "mnist": DatasetInfo(10, (1, 28, 28), 60000, 10000, 2, False, (0.1307,), (0.3081,)),
    "fashion_mnist": DatasetInfo(10, (1, 28, 28), 60000, 10000, 2, True, (0.2860,), (0.3530,)),
}


class Dataset(NamedTuple):
    """Training and test examples of a classification problem, and which augmentation suits them."""

    name: str
    train: Examples
    test: Examples
    num_classes: int
    padding: int
    flip: bool

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: str | torch.device) -> "Dataset":
        """Copy both sets to a device."""
        return self._replace(train=self.train.to(device), test=self.test.to(device))


def num_train_examples(
    name: str, train_examples: int | None = None, test_fraction: float = 0.2
) -> int:
    """Count the training examples that `fetch` would give, without any data; raises as `fetch`."""
    num_train, _ = _split_sizes(name, test_fraction)
    return _subset_size(name, "train_examples", train_examples, num_train)


def fetch(
    name: str,
    *,
    root: str | os.PathLike = "data",
    train_examples: int | None = None,
    test_examples: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    download: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """Get a data set from disk or, where it is missing, from its official source.

    Parameters
    ----------
    name
        A key of `CATALOGUE`. The digits come with scikit-learn and need neither disk nor network.
    root
        Folder of the data, in torchvision's layout. Whatever is read of CIFAR or downloaded has to
        have the official checksum.
    train_examples, test_examples
        Sizes of random subsets, None for everything. Those of one seed are nested; the examples
        keep their order.
    test_fraction
        Fraction of the digits to test on, strictly between 0 and 1. The other sets have official
        test sets.
    seed
        Decides the split and the subsets.
    download
        Whether to try the network.
    mean, std
        Of the normalisation, one value per channel in units where 255 is 1; None for the data
        set's own. Zeros and ones leave the pixels between 0 and 1.

    Raises
    ------
    ValueError
        `name` is unknown, more examples are asked for than there are, `test_fraction` is out of
        range, or the normalisation has not one finite value per channel, positive for `std`.
    FileNotFoundError
        The data are missing or damaged and cannot be downloaded.
    """
    num_train, num_test = _split_sizes(name, test_fraction)
    wanted_train = _subset_size(name, "train_examples", train_examples, num_train)
    wanted_test = _subset_size(name, "test_examples", test_examples, num_test)
    info = normalised(CATALOGUE[name], mean, std)
    if name == "digits":
        train, test = _load_digits(info, num_train, seed)
    else:
        train, test = _load_torchvision(name, info, Path(root), download)
    return Dataset(
        name,
        _random_subset(train, wanted_train, seed, "training subset"),
        _random_subset(test, wanted_test, seed, "test subset"),
        info.num_classes,
        info.padding,
        info.flip,
    )


def normalised(
    info: DatasetInfo, mean: Sequence[float] | None, std: Sequence[float] | None
) -> DatasetInfo:
    """Replace the normalisation of a data set where another one is given; raises as `fetch`."""
    given = {"mean": info.mean if mean is None else mean, "std": info.std if std is None else std}
    for key, values in given.items():
        if len(values) != info.input_shape[0]:
            raise ValueError(
                f"{key} must have one value for each channel of the images, "
                f"{info.input_shape[0]}, got {list(values)}"
            )
    if not all(map(math.isfinite, given["mean"])):
        raise ValueError(f"mean must be finite, got {list(given['mean'])}")
    if not all(math.isfinite(value) and value > 0 for value in given["std"]):
        raise ValueError(f"std must be finite and positive, got {list(given['std'])}")
    return info._replace(mean=tuple(map(float, given["mean"])), std=tuple(map(float, given["std"])))


def save(path: str | os.PathLike, dataset: Dataset) -> None:
    """Write a data set to one safetensors file; the same data set gives the same bytes."""
    tensors = {
        f"{split}_{kind}": getattr(getattr(dataset, split), kind)
        for split in ("train", "test")
        for kind in ("images", "labels")
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
            Examples(tensors[f"{split}_images"], tensors[f"{split}_labels"], mean, std)
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


def _split_sizes(name: str, test_fraction: float) -> tuple[int, int]:
    if name not in CATALOGUE:
        raise ValueError(f"dataset must be one of {', '.join(sorted(CATALOGUE))}, got {name!r}")
    info = CATALOGUE[name]
    if info.num_test is not None:
        return info.num_train, info.num_test
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie strictly between 0 and 1, got {test_fraction}")
    num_test = min(max(round(info.num_train * test_fraction), 1), info.num_train - 1)
    return info.num_train - num_test, num_test


def _subset_size(name: str, argument: str, wanted: int | None, available: int) -> int:
    if wanted is None:
        return available
    if not 1 <= wanted <= available:
        raise ValueError(
            f"{argument} must be between 1 and the {available} examples of {name}, got {wanted}"
        )
    return wanted


def _random_subset(examples: Examples, size: int, seed: int, purpose: str) -> Examples:
    if size == len(examples):
        return examples
    order = streams.generator(seed, purpose).permutation(len(examples))
    return examples.subset(np.sort(order[:size]))


def _load_digits(info: DatasetInfo, num_train: int, seed: int) -> tuple[Examples, Examples]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy((digits.images * 15).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    everything = Examples(images, labels, info.mean, info.std)
    order = streams.generator(seed, "split").permutation(len(everything))
    train, test = np.sort(order[:num_train]), np.sort(order[num_train:])
    return everything.subset(train), everything.subset(test)


def _load_torchvision(
    name: str, info: DatasetInfo, root: Path, download: bool
) -> tuple[Examples, Examples]:
    from torchvision import datasets as source

    loaders = {
        "cifar10": source.CIFAR10,
        "cifar100": source.CIFAR100,
        "mnist": source.MNIST,
        "fashion_mnist": source.FashionMNIST,
    }
    loader = loaders[name]
    try:
        train, test = _read_or_download(loader, root, download)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise FileNotFoundError(_missing_data(name, loader, root, error)) from error
    return _as_examples(train, info), _as_examples(test, info)


def _read_or_download(loader: Any, root: Path, download: bool) -> tuple[Any, Any]:
    try:
        return loader(root, train=True), loader(root, train=False)
    except RuntimeError:  # torchvision's word for missing or damaged
        if not download:
            raise
        loader(root, train=True, download=True)
        return loader(root, train=True), loader(root, train=False)


def _missing_data(name: str, loader: Any, root: Path, error: Exception) -> str:
    folder = root / getattr(loader, "base_folder", f"{loader.__name__}/raw")
    urls = (
        [loader.url]
        if hasattr(loader, "url")
        else [loader.mirrors[-1] + file for file, _ in loader.resources]
    )
    damaged = folder.is_dir() and any(folder.iterdir())
    problem = f"in {folder} is damaged (delete it)" if damaged else f"is not in {folder}"
    reason = " ".join(str(error).split())
    return (
        f"data set {name} {problem} and was not downloaded ({reason}); "
        f"unpack {', '.join(urls)} into {folder}, or run once with a network"
    )


def _as_examples(source: Any, info: DatasetInfo) -> Examples:
    images = torch.as_tensor(source.data)  # CIFAR (N, H, W, C), MNIST (N, H, W)
    images = images.permute(0, 3, 1, 2) if images.ndim == 4 else images[:, None]
    labels = torch.as_tensor(source.targets, dtype=torch.int64)
    return Examples(images.contiguous(), labels, info.mean, info.std)
