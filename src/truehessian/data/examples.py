"""A fixed, ordered set of labelled examples; images are kept in uint8 and normalised on the fly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree

Indices = slice | Sequence[int] | NDArray | Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """A fixed, ordered set of labelled examples.

    Attributes
    ----------
    inputs
        For the network: a tensor, or a tuple, list or mapping of tensors, of any dtypes and shapes
        (N, ...). Images that are normalised are one tensor, uint8, shape (N, C, H, W).
    targets
        For the loss: the same, such as the numbers of classes, int64, shape (N,).
    mean, std
        Normalisation of images per channel, in units where 255 is 1; empty for none.

    Raises
    ------
    ValueError
        Something is no tensor, or has not one row for each example.
    """

    inputs: Tree
    targets: Tree
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Look that all first axes count the same examples."""
        lengths = {}
        for name, leaf in trees.named({"inputs": self.inputs, "targets": self.targets}):
            if not isinstance(leaf, Tensor) or not leaf.ndim:
                kind = "a number" if isinstance(leaf, Tensor) else type(leaf).__name__
                raise ValueError(
                    f"{name} must be a tensor whose first axis counts examples, got {kind}"
                )
            lengths[name] = len(leaf)
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "inputs and targets must have one row for each example, but "
                + " and ".join(f"{name} has {length}" for name, length in lengths.items())
            )

    def __len__(self) -> int:
        return trees.count(self.targets)

    @property
    def num_examples(self) -> int:
        """The number N of examples."""
        return len(self)

    @property
    def are_images(self) -> bool:
        """Whether the inputs are images, a tensor of shape (N, C, H, W)."""
        return isinstance(self.inputs, Tensor) and self.inputs.ndim == 4

    @property
    def device(self) -> torch.device:
        """Where the examples are, and where batches will be."""
        return trees.tensors_of(self.targets)[0].device

    def to(self, device: str | torch.device) -> "Examples":
        """Copy to a device (nothing is copied if they are there)."""
        inputs, targets = (trees.moved(tree, device) for tree in (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)

    def subset(self, indices: Indices) -> "Examples":
        """Take some examples, in the order of `indices`."""
        index = as_index(indices, self.device)
        inputs, targets = trees.rows(self.inputs, index), trees.rows(self.targets, index)
        return replace(self, inputs=inputs, targets=targets)

    def batch(self, indices: Indices, dtype: torch.dtype = torch.float32) -> tuple[Tree, Tree]:
        """Give inputs (B, ...), and their targets.

        Images are normalised; what are numbers becomes `dtype`, and whole numbers stay as they are.
        """
        index = as_index(indices, self.device)
        inputs, targets = trees.rows(self.inputs, index), trees.rows(self.targets, index)
        targets = trees.cast(targets, dtype)
        if self.mean:
            return normalise(inputs, self.mean, self.std, dtype), targets
        return trees.cast(inputs, dtype), targets

    def chunks(self, size: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[Tree, Tree]]:
        """All examples as contiguous batches of `size`, in fixed order; the last may be short."""
        return (self.batch(chunk, dtype) for chunk in chunk_slices(len(self), size))


def separated(batch: Any, words: Sequence[str] = ("labels", "targets")) -> tuple[Any, Any] | None:
    """Separate inputs from targets; None where that cannot be done.

    Parameters
    ----------
    batch
        A pair (inputs, targets), or a mapping that holds the targets beside the inputs.
    words
        Keys under which a mapping may have them; the first that is there counts.
    """
    if isinstance(batch, Mapping):
        word = next((word for word in words if word in batch), None)
        if word is None:
            return None
        return {key: value for key, value in batch.items() if key != word}, batch[word]
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    return None


def as_index(indices: Indices, device: torch.device) -> slice | Tensor:
    """Make indices fit to index a tensor on `device`."""
    if isinstance(indices, slice):
        return indices
    return torch.as_tensor(indices, dtype=torch.int64, device=device)


def chunk_slices(num_examples: int, size: int) -> list[slice]:
    """Cut range(num_examples) into contiguous slices of `size`; the last may be short.

    Raises
    ------
    ValueError
        `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"the chunk size must be at least 1, got {size}")
    return [slice(i, min(i + size, num_examples)) for i in range(0, num_examples, size)]


def normalise(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """Map uint8 images of shape (B, C, H, W) to (images / 255 - mean) / std in `dtype`."""
    shape = (-1, 1, 1)
    centre = torch.tensor(mean, dtype=dtype, device=images.device).view(shape)
    scale = torch.tensor(std, dtype=dtype, device=images.device).view(shape)
    return images.to(dtype).div_(255).sub_(centre).div_(scale)
