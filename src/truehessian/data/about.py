"""What is known of data before they are read, and what a source of data is. Needs no PyTorch."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

# Trees: see `data.trees`. A shape is a tuple of whole numbers, or a tuple or mapping of shapes.
Shape: TypeAlias = Any
Labelled = tuple[Any, Any]  # inputs and targets, tensors (N, ...) or trees of them


class DatasetInfo(NamedTuple):
    """What is known of a data set before it is loaded.

    Attributes
    ----------
    num_classes
        Number of outputs that a network needs: of different labels 0 .. num_classes - 1, or of
        numbers to predict.
    input_shape
        Of one example: (channels, height, width) for images; for tuples and mappings of tensors a
        tuple or mapping of shapes.
    num_train, num_test
        Examples of the splits; `num_test` is None where the data come as one set of `num_train`
        examples that `fetch` splits.
    padding, flip
        Which augmentation suits images: pixels on each side, and whether to mirror.
    mean, std
        Of the normalisation of uint8 images, one value per channel in units where 255 is 1; empty
        for inputs that are taken as they are.
    input_dtypes
        Names of the inputs' types as they are kept, such as "int64"; for tuples and mappings a
        tuple or mapping of names. None: a network gets real numbers throughout.
    class_names
        In the order of the labels; empty where they are not known.
    """

    num_classes: int
    input_shape: Shape
    num_train: int
    num_test: int | None
    padding: int = 0
    flip: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    input_dtypes: Any = None
    class_names: tuple[str, ...] = ()

    @property
    def are_images(self) -> bool:
        """Whether the inputs are images, one tensor of channels, rows and columns."""
        return is_shape(self.input_shape) and len(self.input_shape) == 3

    @property
    def can_be_normalised(self) -> bool:
        """Whether the inputs are images of bytes (or of a type that is not known)."""
        return self.are_images and self.input_dtypes in (None, "uint8")

    @property
    def can_be_cropped(self) -> bool:
        """Whether the inputs are images that are to be cropped or mirrored."""
        return self.are_images and (self.padding > 0 or self.flip)

    @property
    def network_inputs(self) -> dict[str, Any]:
        """What networks are built for, as keyword arguments of `networks.registry.build`.

        The types are there only where a network gets other than real numbers.
        """
        about = {"input_shape": as_plain(self.input_shape)}
        if self.mean or all(map(_is_real, names_in(self.input_dtypes))):
            return about
        return {**about, "input_dtypes": as_plain(self.input_dtypes)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "DatasetInfo":
        """Make it of its fields as JSON gives them back."""
        tuples = ("input_shape", "mean", "std", "input_dtypes", "class_names")
        return cls(**{**values, **{key: as_tuples(values[key]) for key in tuples}})


class Origin(NamedTuple):
    """What decides the data beside the settings.

    Attributes
    ----------
    files
        SHA-256 of each file that would be read, by a name that stays when the folder is moved.
        Empty for official files, whether they are there or will be downloaded.
    packages
        Version of each distribution that the data come with, by its name.
    """

    files: dict[str, str]
    packages: dict[str, str]


class DataSource(Protocol):
    """Where data come from.

    `settings` is the section `dataset` of a run, as the keyword arguments of `fetch`; what is
    special to a source is in its `arguments`, which `info` takes by name.
    """

    def info(self, **arguments: Any) -> DatasetInfo:
        """Say what the data are, without reading them all if possible."""

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Say what they are read from, so that a change is noticed."""

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, Labelled | None]:
        """Read the training and the test split; None where `fetch` is to split the first."""


def is_shape(shape: Shape) -> bool:
    """Whether a shape is that of one tensor, and no tree of shapes."""
    return isinstance(shape, tuple | list) and all(isinstance(size, int) for size in shape)


def mapped(tree: Any, function: Callable[[Any], Any], is_leaf: Callable[[Any], bool]) -> Any:
    """Apply a function to the leaves of a tree; mappings become dictionaries, lists tuples."""
    if is_leaf(tree):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: mapped(value, function, is_leaf) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(mapped(value, function, is_leaf) for value in tree)
    return tree


def named(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Go through leaves with their names: keys and positions with dots between, as `inputs.0`."""
    branches: Iterable[tuple[Any, Any]]
    if isinstance(tree, Mapping):
        branches = tree.items()
    elif isinstance(tree, tuple | list):
        branches = enumerate(tree)
    else:
        yield name, tree
        return
    for key, branch in branches:
        yield from named(branch, f"{name}.{key}" if name else str(key))


def as_tuples(tree: Any) -> Any:
    """Make tuples of all lists in a tree."""
    return mapped(tree, lambda leaf: leaf, lambda _: False)


def as_plain(tree: Any) -> Any:
    """Make lists of all tuples, and dictionaries of mappings: values of JSON."""
    if isinstance(tree, Mapping):
        return {key: as_plain(value) for key, value in tree.items()}
    return [as_plain(value) for value in tree] if isinstance(tree, tuple | list) else tree


def names_in(tree: Any) -> list[str]:
    """List the strings of a tree."""
    if isinstance(tree, str):
        return [tree]
    branches = tree.values() if isinstance(tree, Mapping) else tree or ()
    return [name for branch in branches for name in names_in(branch)]


def digest_of_files(files: Mapping[str, Path]) -> dict[str, str]:
    """Digest each file by its name, SHA-256."""
    digests = {}
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _is_real(dtype: str) -> bool:
    return "float" in dtype
