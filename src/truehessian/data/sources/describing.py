"""What a configuration needs to know of examples, from the shapes and types of their tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from truehessian.data.about import DatasetInfo, as_plain, mapped, named

TARGETS = ("targets", "labels")  # two words for the same


@dataclass(frozen=True)
class Leaf:
    """A tensor of examples that need not have been read.

    Attributes
    ----------
    shape
        Of all examples, (N, ...).
    dtype
        Its name, such as "int64".
    bounds
        Finds the smallest and the largest of whole numbers.
    costly
        Whether that may mean to make all examples; it is then only done if nobody says the number
        of outputs.
    """

    shape: tuple[int, ...]
    dtype: str
    bounds: Callable[[], tuple[int, int]]
    costly: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.startswith(("int", "uint"))

    @property
    def kept_dtype(self) -> str:
        """The type that whole numbers are brought to, but for those of images."""
        return "int64" if self.is_whole else self.dtype


class Split(NamedTuple):
    """One set of examples: trees of leaves, and a name to speak of it."""

    name: str
    inputs: Any
    targets: Any


def describe(
    where: str,
    splits: Sequence[Split],
    *,
    num_classes: int | None = None,
    padding: int = 0,
    flip: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> DatasetInfo:
    """Put together what is known of data.

    Parameters
    ----------
    where
        The data's file or factory, for errors.
    splits
        All the data, or those to train and to test with.
    num_classes
        Number of outputs; by default that of classes 0, 1, .. in whole numbers (N,) or (N, T), one
        for real numbers (N,), and k for (N, k).
    padding, flip
        Which augmentation suits images.
    mean, std
        Normalisation of images of bytes; none by default.

    Raises
    ------
    ValueError
        The tensors do not belong together, or their number of outputs cannot be told.
    """
    for split in splits:
        _check_rows(where, split)
    for kind in ("inputs", "targets"):
        _check_alike(where, kind, splits)
    inputs = splits[0].inputs
    is_image = is_image_of_bytes(inputs)
    channels = inputs.shape[1] if is_image else 0
    _check_images(where, inputs, channels, {"mean": mean, "std": std}, cropped=padding > 0 or flip)
    counts = [next(iter(named(split.targets)))[1].shape[0] for split in splits]
    return DatasetInfo(
        num_classes=_outputs(where, splits, num_classes),
        input_shape=mapped(inputs, lambda leaf: tuple(leaf.shape[1:]), _is_leaf),
        num_train=counts[0],
        num_test=counts[1] if len(counts) == 2 else None,
        padding=padding,
        flip=flip,
        mean=tuple(map(float, mean or (0.0,) * channels)),
        std=tuple(map(float, std or (1.0,) * channels)),
        input_dtypes="uint8"
        if is_image
        else mapped(inputs, lambda leaf: leaf.kept_dtype, _is_leaf),
    )


def is_image_of_bytes(inputs: Any) -> bool:
    """Whether inputs are images, uint8 (N, C, H, W)."""
    return isinstance(inputs, Leaf) and inputs.dtype == "uint8" and len(inputs.shape) == 4


def nested(flat: Mapping[str, Any]) -> Any:
    """Make a tree of its leaves by names with dots; "" is the only leaf of a tree that is one.

    Names that count 0, 1, .. make a tuple.

    Raises
    ------
    ValueError
        A name is both a leaf's and a branch's.
    """
    if set(flat) == {""}:
        return flat[""]
    branches: dict[str, dict[str, Any]] = {}
    for name, leaf in flat.items():
        first, _, rest = name.partition(".")
        branches.setdefault(first, {})[rest] = leaf
    for first, branch in branches.items():
        if ("" in branch and len(branch) > 1) or first == "":
            raise ValueError(f"there are both {first or 'a tensor'} and parts of it by names")
    made = {first: nested(branch) for first, branch in branches.items()}
    if sorted(made) == sorted(map(str, range(len(made)))):
        return tuple(made[str(number)] for number in range(len(made)))
    return made


def _is_leaf(tree: Any) -> bool:
    return isinstance(tree, Leaf)


def _check_rows(where: str, split: Split) -> None:
    """Look that there is a row for each example, and nothing but numbers."""
    leaves = [
        *named(split.inputs, f"{split.name}inputs"),
        *named(split.targets, f"{split.name}targets"),
    ]
    for name, leaf in leaves:
        if not leaf.shape:
            raise ValueError(f"{where}: {name} must have one row for each example, got one number")
        if not leaf.dtype.startswith(("int", "uint", "float", "bfloat", "bool")):
            raise ValueError(
                f"{where}: {name} must hold real or whole numbers, got {leaf.dtype}; leave it out "
                "or make numbers of it"
            )
    rows = {name: leaf.shape[0] for name, leaf in leaves}
    if len(set(rows.values())) > 1 or not all(rows.values()):
        listed = " and ".join(f"{name} has {count}" for name, count in rows.items())
        raise ValueError(f"{where}: there must be one row for each example, but {listed}")


def _check_alike(where: str, kind: str, splits: Sequence[Split]) -> None:
    """Look that examples to train and to test with differ in nothing but their number."""
    forms = [
        mapped(getattr(split, kind), lambda leaf: f"{leaf.dtype} {leaf.shape[1:]}", _is_leaf)
        for split in splits
    ]
    if any(as_plain(form) != as_plain(forms[0]) for form in forms):
        raise ValueError(
            f"{where}: {kind} must be the same for training and test but for their number, got "
            f"{' and '.join(map(_written, forms))}"
        )


def _check_images(
    where: str,
    inputs: Any,
    channels: int,
    normalisation: Mapping[str, Sequence[float] | None],
    *,
    cropped: bool,
) -> None:
    """Refuse what is said of images where there are none, or others."""
    for key, values in normalisation.items():
        if values is not None and len(values) != channels:
            raise ValueError(
                f"{where}: {key} must have one value for each channel of images of bytes "
                f"(N, C, H, W), and there are {channels} channels; got {list(values)}"
            )
    if cropped and not (isinstance(inputs, Leaf) and len(inputs.shape) == 4):
        raise ValueError(
            f"{where}: padding and flip are of images (N, C, H, W), and the inputs are none; leave "
            "them out, or name a function of your own as dataset.augmentation"
        )


def _written(form: Any) -> str:
    return form if isinstance(form, str) else str(form).replace("'", "")


def _outputs(where: str, splits: Sequence[Split], given: int | None) -> int:
    """Count the outputs that a network needs."""
    if given is not None and (not isinstance(given, int) or given < 1):
        raise ValueError(f"{where}: num_classes must be a whole number from 1 on, got {given!r}")
    first = splits[0].targets
    if not isinstance(first, Leaf) or not first.is_whole:
        return _of_numbers(where, first) if given is None else given
    if given is not None and any(split.targets.costly for split in splits):
        return given
    smallest, largest = zip(*(split.targets.bounds() for split in splits), strict=True)
    if (min(smallest) < 0 and len(first.shape) == 1) or max(largest) < 0:
        raise ValueError(
            f"{where}: targets of shape (N,) must be whole numbers from 0 on, the classes, or real "
            f"numbers to predict, got {min(smallest)}"
        )
    if given is not None and max(largest) >= given:
        raise ValueError(
            f"{where}: num_classes is {given}, but targets go up to {max(largest)}; it must be "
            f"{max(largest) + 1} at least"
        )
    return max(largest) + 1 if given is None else given


def _of_numbers(where: str, targets: Any) -> int:
    if isinstance(targets, Leaf) and targets.dtype == "bool":
        raise ValueError(
            f"{where}: targets are true or false; make whole numbers of them for classes, or real "
            "numbers to predict"
        )
    if not isinstance(targets, Leaf) or len(targets.shape) > 2:
        raise ValueError(
            f"{where}: the number of outputs cannot be told from such targets; give num_classes"
        )
    return targets.shape[1] if len(targets.shape) == 2 else 1
