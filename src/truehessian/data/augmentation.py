"""Random crops after zero padding and horizontal flips: fixed sets and fresh draws."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from truehessian import streams
from truehessian.data import trees
from truehessian.data.examples import Examples, Indices, as_index, chunk_slices
from truehessian.data.trees import Tree


def augment(images: Tensor, offsets: Tensor, flips: Tensor, padding: int) -> Tensor:
    """Crop zero-padded images back to their size, and mirror some of them.

    Parameters
    ----------
    images
        uint8 (any dtype works), shape (B, C, H, W).
    offsets
        Integer, shape (B, 2): row and column where the crop begins in the padded image, from 0 to
        2 * padding; `padding` itself leaves the image where it is.
    flips
        Shape (B,); images where it is nonzero are mirrored left to right after the crop.
    padding
        Pixels of zeros on each side. They are added before normalisation, so they are black.

    Returns
    -------
    Tensor
        Shape, dtype and device of `images`.
    """
    batch, channels, height, width = images.shape
    device = images.device
    rows = offsets[:, :1].long() + torch.arange(height, device=device)  # (B, H)
    columns = torch.arange(width, device=device).expand(batch, width)
    columns = torch.where(flips.bool()[:, None], columns.flip(1), columns)
    columns = columns + offsets[:, 1:].long()  # (B, W)
    image = torch.arange(batch, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]
    padded = pad(images, (padding,) * 4)
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def draw_crops(
    num_images: int, generator: torch.Generator, padding: int, flip: bool
) -> tuple[Tensor, Tensor]:
    """Draw uniform offsets (B, 2) and flips (B,) for `augment`, from a generator of the CPU.

    The draws are the same for every device. Without `flip` nothing is mirrored.
    """
    offsets = torch.randint(2 * padding + 1, (num_images, 2), generator=generator)
    return offsets, torch.randint(2, (num_images,), generator=generator) * int(flip)


class Augmented:
    """A fixed set of factor * N augmented images of N examples, used like `Examples`.

    Image `copy * N + position` is the copy numbered `copy` (from 0) of the example at `position`.
    Its crop and flip depend on the seed, the position and the copy alone: it is the same at every
    pass, and the set with a smaller factor is the beginning of the set with a larger one. The
    images are made when asked for and never kept; only the draws are, three bytes per image.

    Parameters
    ----------
    examples
        The N originals.
    factor
        Copies per original.
    seed
        Decides the draws.
    padding
        Pixels of zeros on each side, from 0 to 127 (the draws are bytes).
    flip
        Whether to mirror at random. The crops do not depend on it.

    Raises
    ------
    ValueError
        `factor` is below 1, `padding` out of range, or the examples are no images.
    """

    def __init__(
        self, examples: Examples, factor: int, *, seed: int, padding: int, flip: bool
    ) -> None:
        if factor < 1:
            raise ValueError(f"the augmentation factor must be at least 1, got {factor}")
        if not 0 <= padding <= 127:
            raise ValueError(f"padding must be between 0 and 127 pixels, got {padding}")
        if not examples.are_images:
            raise ValueError(
                "only images, of shape (N, C, H, W), can be cropped and mirrored, got inputs of "
                f"shape {trees.shapes(examples.inputs)}; set augmentation: null"
            )
        self.examples = examples
        self.factor = factor
        self.padding = padding
        ends = [2 * padding + 1, 2 * padding + 1, 2]  # of row, column and flip
        tables = [
            streams.generator(seed, "augmented copy", number).integers(
                ends, size=(len(examples), 3), dtype=np.uint8
            )
            for number in range(factor)
        ]
        draws = torch.from_numpy(np.concatenate(tables)).to(examples.device)
        self._offsets, self._flips = draws[:, :2], draws[:, 2] * int(flip)

    def __len__(self) -> int:
        return self.factor * len(self.examples)

    @property
    def num_examples(self) -> int:
        """The number factor * N of augmented images."""
        return len(self)

    @property
    def device(self) -> torch.device:
        """Where batches will be."""
        return self.examples.device

    def to(self, device: str | torch.device) -> "Augmented":
        """Copy originals and draws to a device."""
        moved = copy.copy(self)
        moved.examples = self.examples.to(device)
        moved._offsets, moved._flips = self._offsets.to(device), self._flips.to(device)
        return moved

    def subset(self, indices: Indices) -> Examples:
        """Make the images at `indices`, in that order, and keep them: uint8 and not normalised."""
        index = as_index(indices, self.device)
        if isinstance(index, slice):
            index = torch.arange(len(self), device=self.device)[index]
        originals = self.examples.subset(index % len(self.examples))
        images = augment(originals.inputs, self._offsets[index], self._flips[index], self.padding)
        return replace(originals, inputs=images)

    @property
    def targets(self) -> Tree:
        """Targets of all images, those of the originals again and again."""
        return trees.mapped(
            self.examples.targets, lambda t: t.repeat(self.factor, *[1] * (t.ndim - 1))
        )

    def batch(self, indices: Indices, dtype: torch.dtype = torch.float32) -> tuple[Tree, Tree]:
        """Give normalised inputs (B, C, H, W) of `dtype`, and the targets of the originals."""
        return self.subset(indices).batch(slice(None), dtype)

    def chunks(self, size: int, dtype: torch.dtype = torch.float32) -> Iterator[tuple[Tree, Tree]]:
        """All images as contiguous batches of `size`, in fixed order; the last may be short."""
        return (self.batch(chunk, dtype) for chunk in chunk_slices(len(self), size))
