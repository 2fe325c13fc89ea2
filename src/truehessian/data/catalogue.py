"""What is known of data sets before they are read, and how one is read, split and cut.

Nothing here needs PyTorch until data are read, so that a configuration can be checked without it.
"""

import inspect
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from truehessian import streams
from truehessian.data.about import DatasetInfo, DataSource, Labelled, Origin, digest_of_files
from truehessian.data.sources import SOURCES
from truehessian.data.sources.factory import Factory

if TYPE_CHECKING:
    from truehessian.data.dataset import Dataset
    from truehessian.data.examples import Examples

__all__ = [
    "DataSource",
    "DatasetInfo",
    "Labelled",
    "Origin",
    "Sizes",
    "digest_of_files",
    "fetch",
    "info",
    "normalised",
    "origin",
    "sizes",
    "source",
]


class Sizes(NamedTuple):
    """Numbers of examples."""

    train: int
    test: int


def source(name: str) -> DataSource:
    """Find a source of data; what it reads to say what the data are, it keeps until they are read.

    Parameters
    ----------
    name
        One of `SOURCES`, or the import path of a source or of a function that makes data; see
        `sources.factory`.

    Raises
    ------
    ValueError
        There is none of this name, or it is neither.
    """
    found = SOURCES.load(name)
    if all(callable(getattr(found, method, None)) for method in ("info", "origin", "read")):
        made: DataSource = found
        return made
    if not callable(found):
        raise ValueError(
            f"dataset {name} is a {type(found).__name__} and neither a function that makes data "
            "nor a source of them, with the methods info, origin and read"
        )
    return Factory(name, found)


def info(name: str, arguments: Mapping[str, Any] | None = None) -> DatasetInfo:
    """Look up what is known of a data set.

    Raises
    ------
    ValueError
        The name is unknown, or the source takes other arguments.
    """
    return _info(source(name), name, arguments or {})


def origin(settings: Mapping[str, Any]) -> Origin:
    """Find what a data set would be read from.

    Parameters
    ----------
    settings
        The section `dataset` of a run: keyword arguments of `fetch`.

    Raises
    ------
    ValueError
        The name is unknown.
    OSError
        A file is there and cannot be read.
    """
    return source(settings["name"]).origin(settings)


def sizes(
    name: str,
    *,
    train_examples: int | None = None,
    test_examples: int | None = None,
    test_fraction: float = 0.2,
    arguments: Mapping[str, Any] | None = None,
    about: DatasetInfo | None = None,
    **_: Any,
) -> Sizes:
    """Count the examples that `fetch` would give with these arguments, without any data.

    `about` is what `info` gives, for those who have it at hand: a source may have to look at many
    files for it.

    Raises
    ------
    ValueError
        As `fetch`.
    """
    whole = _whole(about or info(name, arguments), test_fraction)
    wanted = ("train_examples", train_examples), ("test_examples", test_examples)
    return Sizes(
        *(
            available if size is None else _checked(name, argument, size, available)
            for (argument, size), available in zip(wanted, whole, strict=True)
        )
    )


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
    arguments: Mapping[str, Any] | None = None,
) -> "Dataset":
    """Get a data set from disk or, where it is missing, from its official source.

    Parameters
    ----------
    name
        One of `SOURCES`, or the import path "package.module:function" of one's own; see `source`.
    root
        Folder of the data, in torchvision's layout.
    train_examples, test_examples
        Sizes of random subsets, None for everything. Those of one seed are nested; the examples
        keep their order.
    test_fraction
        Fraction to test on where the data come in one piece, strictly between 0 and 1.
    seed
        Decides the split and the subsets.
    download
        Whether to try the network.
    mean, std
        Of the normalisation, one value per channel in units where 255 is 1; None for the data
        set's own. Zeros and ones leave the pixels between 0 and 1.
    arguments
        Of the source, where it takes any.

    Raises
    ------
    ValueError
        `name` is unknown, more examples are asked for than there are, `test_fraction` is out of
        range, or the normalisation has not one finite value per channel, positive for `std`.
    FileNotFoundError
        The data are missing or damaged and cannot be downloaded.
    """
    from truehessian.data.dataset import Dataset
    from truehessian.data.examples import Examples

    found = source(name)
    about = _info(found, name, arguments or {})
    wanted = sizes(
        name,
        train_examples=train_examples,
        test_examples=test_examples,
        test_fraction=test_fraction,
        about=about,
    )
    about = normalised(about, mean, std)
    settings = {"name": name, "root": root, "download": download, "arguments": arguments or {}}
    read = found.read(settings)
    first, *others = (Examples(*part, about.mean, about.std) for part in read if part is not None)
    train, test = (first, *others) if others else _split(first, about, test_fraction, seed)
    return Dataset(
        name,
        _random_subset(train, wanted.train, seed, "training subset"),
        _random_subset(test, wanted.test, seed, "test subset"),
        about.num_classes,
        about.padding,
        about.flip,
    )


def normalised(
    about: DatasetInfo, mean: Sequence[float] | None, std: Sequence[float] | None
) -> DatasetInfo:
    """Replace the normalisation of a data set where another one is given; raises as `fetch`."""
    given = {"mean": about.mean if mean is None else mean, "std": about.std if std is None else std}
    if not any(given.values()):
        return about
    if not about.can_be_normalised:
        raise ValueError(
            "mean and std are of images, of bytes (N, C, H, W), and the inputs of these data are "
            "none; leave both out"
        )
    for key, values in given.items():
        if len(values) != about.input_shape[0]:
            raise ValueError(
                f"{key} must have one value for each channel of the images, "
                f"{about.input_shape[0]}, got {list(values)}"
            )
    if not all(map(math.isfinite, given["mean"])):
        raise ValueError(f"mean must be finite, got {list(given['mean'])}")
    if not all(math.isfinite(value) and value > 0 for value in given["std"]):
        raise ValueError(f"std must be finite and positive, got {list(given['std'])}")
    return about._replace(
        mean=tuple(map(float, given["mean"])), std=tuple(map(float, given["std"]))
    )


def _info(source: DataSource, name: str, arguments: Mapping[str, Any]) -> DatasetInfo:
    """Ask a source, or say which arguments it takes."""
    takes = inspect.signature(source.function if isinstance(source, Factory) else source.info)
    try:
        takes.bind(**arguments)
    except TypeError as error:
        known = ", ".join(takes.parameters) or "none"
        raise ValueError(f"arguments of {name} are {known}; {error}") from None
    return source.info(**arguments)


def _whole(about: DatasetInfo, test_fraction: float) -> Sizes:
    """Count the examples of both splits before any subset is taken."""
    if about.num_test is not None:
        return Sizes(about.num_train, about.num_test)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie strictly between 0 and 1, got {test_fraction}")
    num_test = min(max(round(about.num_train * test_fraction), 1), about.num_train - 1)
    return Sizes(about.num_train - num_test, num_test)


def _checked(name: str, argument: str, wanted: int, available: int) -> int:
    if not 1 <= wanted <= available:
        raise ValueError(
            f"{argument} must be between 1 and the {available} examples of {name}, got {wanted}"
        )
    return wanted


def _split(
    examples: "Examples", about: DatasetInfo, test_fraction: float, seed: int
) -> tuple["Examples", "Examples"]:
    """Cut data that come in one piece at random into training and test examples."""
    order = streams.generator(seed, "split").permutation(len(examples))
    num_train = _whole(about, test_fraction).train
    cut = np.sort(order[:num_train]), np.sort(order[num_train:])
    return examples.subset(cut[0]), examples.subset(cut[1])


def _random_subset(examples: "Examples", size: int, seed: int, purpose: str) -> "Examples":
    if size == len(examples):
        return examples
    order = streams.generator(seed, purpose).permutation(len(examples))
    return examples.subset(np.sort(order[:size]))
