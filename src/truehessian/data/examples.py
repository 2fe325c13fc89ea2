"""A fixed, ordered set of labelled examples; images are kept in uint8 and normalised on the fly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = slice | Sequence[int] | NDArray | Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """A fixed, ordered set of labelled examples.

    Attributes
    ----------
    inputs
        Images: uint8, shape (N, C, H, W). Without a normalisation any shape (N, ...) and dtype.
    labels
        int64, shape (N,), on the same device.
    mean, std
        Normalisation of images per channel, in units where 255 is 1; empty for none.
    """

    inputs: Tensor
    labels: Tensor
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_examples(self) -> int:
        """The number N of examples."""
        return len(self)

    @property
    def device(self) -> torch.device:
        """Where the examples are, and where batches will be."""
        return self.inputs.device

    def to(self, device: str | torch.device) -> "Examples":
        """Copy to a device (nothing is copied if they are there)."""
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))

    def subset(self, indices: Indices) -> "Examples":
        """Take some examples, in the order of `indices`."""
        index = as_index(indices, self.device)
        return replace(self, inputs=self.inputs[index], labels=self.labels[index])

    def batch(self, indices: Indices, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Give inputs (B, ...), and their labels, int64 of shape (B,).

        Images are normalised; what are numbers becomes `dtype`, and whole numbers stay as they are.
        """
        index = as_index(indices, self.device)
        inputs, labels = self.inputs[index], self.labels[index]
        if self.mean:
            return normalise(inputs, self.mean, self.std, dtype), labels
        return inputs.to(dtype) if inputs.is_floating_point() else inputs, labels

    def chunks(
        self, size: int, dtype: torch.dtype = torch.float32
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples as contiguous batches of `size`, in fixed order; the last may be short."""
        return (self.batch(chunk, dtype) for chunk in chunk_slices(len(self), size))


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
