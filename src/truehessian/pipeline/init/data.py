"""The data of a run, looked at: what there is, in which classes, and whether it is normalised."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from truehessian import text
from truehessian.data import catalogue, naming, trees
from truehessian.data.dataset import Dataset
from truehessian.networks.losses.cross_entropy import IGNORED
from truehessian.pipeline.config import problem, sentences
from truehessian.pipeline.init.flags import Wishes

_LISTED = 12  # classes that are counted one by one


class Data(NamedTuple):
    """A section `dataset` and what it gives.

    Attributes
    ----------
    section
        As checked.
    examples
        Both splits.
    """

    section: problem.Dataset
    examples: Dataset

    @property
    def classes(self) -> Tensor | None:
        """Training examples in each class; None where targets are no classes."""
        targets: Any = self.examples.train.targets
        if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
            return None
        return torch.bincount(targets.long(), minlength=self.examples.num_classes)

    @property
    def loss(self) -> str:
        """Name a loss that suits the targets: tokens that are their own targets are the next."""
        train = self.examples.train
        targets = trees.tensors_of(train.targets)
        if any(tensor.is_floating_point() for tensor in targets):
            return "mse"
        known = targets[0] != IGNORED
        same = any(
            each.shape == targets[0].shape and bool((each == targets[0])[known].all())
            for each in trees.tensors_of(train.inputs)
        )
        return "next_token" if same else "cross_entropy"


def look(name: str, wishes: Wishes, most: tuple[int, int] | None = None) -> Data:
    """Read data by a name or a path.

    Parameters
    ----------
    name
        What somebody means, see `naming.named`.
    wishes
        What else was given of them.
    most
        Training and test examples to take at most where no numbers were given; None for all.

    Raises
    ------
    ValueError, OSError
        There are no such data, or they are not what they should be.
    """
    section = naming.named(name)
    section["arguments"] = {**section.get("arguments", {}), **wishes.data_arguments}
    for key in ("train_examples", "test_examples", "mean", "std"):
        if getattr(wishes, key) is not None:
            section[key] = getattr(wishes, key)
    try:
        checked = problem.Dataset.model_validate(section)
    except ValidationError as error:
        raise ValueError(f"data: {sentences.of_error(error, problem.Dataset)}") from None
    if most is not None:
        few = {
            f"{split}_examples": number
            for split, there, number in zip(("train", "test"), checked.sizes, most, strict=True)
            if getattr(wishes, f"{split}_examples") is None and there > number
        }
        checked = checked.model_copy(update=few)
    return Data(checked, catalogue.fetch(**checked.reading))


def lines(data: Data) -> Iterator[str]:
    """Say what there is."""
    train, test = data.examples.train, data.examples.test
    yield (
        f"Data: {data.section.name}, {len(train):,} training and {len(test):,} test examples, "
        f"{trees.described(train.inputs)}, targets of shape {trees.shapes(train.targets)}"
    )
    taken = naming.arguments_of(data.section.name)
    if taken:
        given = data.section.arguments
        shown = [f"{key}={given.get(key, default)!r}" for key, default in taken.items()
                 if given.get(key, default) is not inspect.Parameter.empty]  # fmt: skip
        yield f"  arguments of the source: {', '.join(shown)} (another one by --data-arg KEY=VALUE)"
    counts = data.classes
    if counts is not None:
        yield from _of_classes(counts.tolist(), data.section.info.class_names)
    if train.mean:
        yield from _of_normalisation(data)


def _of_classes(counts: list[int], names: tuple[str, ...]) -> Iterator[str]:
    named = [f"{name}: {count:,}" for name, count in
             zip(names or map(str, range(len(counts))), counts, strict=False)]  # fmt: skip
    listed = ": " + ", ".join(named) if len(counts) <= _LISTED else ""
    yield f"  {len(counts)} classes of {min(counts):,} to {max(counts):,} training examples{listed}"
    empty = [str(number) for number, count in enumerate(counts) if not count]
    if empty:
        shown = ", ".join(empty[:_LISTED])
        yield (
            f"  Warning: no training example is of class {shown}; labels are to be counted from 0"
        )


def _of_normalisation(data: Data) -> Iterator[str]:
    """Say how pixels are normalised, and what their own mean and standard deviation are."""
    train = data.examples.train
    pixels = train.inputs[:: max(1, len(train) // 512)].double() / 255
    axes = [axis for axis in range(pixels.ndim) if axis != 1]
    own = pixels.mean(axes).tolist(), pixels.std(axes).tolist()
    mean, std, seen, spread = (
        ", ".join(f"{value:.3g}" for value in values) for values in (train.mean, train.std, *own)
    )
    plain = not any(train.mean) and all(value == 1 for value in train.std)
    how = "are not normalised" if plain else f"are normalised by mean {mean} and std {std}"
    yield f"  pixels between 0 and 1 {how}; their own mean is {seen} and their std {spread}"


def count(data: Data) -> str:
    """Write N as in a sentence."""
    return text.count(len(data.examples.train))
