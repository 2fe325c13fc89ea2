"""One epoch of training data: shuffled, augmented and normalised where the data are.

What is random is drawn on the host for the whole epoch and copied once, and the images are made in
blocks of many batches: a step of training takes a view and waits for nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.augmentation import augment, draw_crops
from truehessian.data.examples import Examples
from truehessian.data.own_augmentation import Augment, transformed
from truehessian.data.trees import Tree

_BLOCK = 8192  # images that are made at once, 100 MB of CIFAR


class Augmentation(NamedTuple):
    """Random crops after `padding` pixels of zeros on each side, and horizontal flips if `flip`."""

    padding: int
    flip: bool


def batches(
    examples: Examples,
    batch_size: int,
    generator: torch.Generator,
    augmentation: Augmentation | Augment | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[Tree, Tree]]:
    """Give all examples once, in random order.

    Parameters
    ----------
    examples
        N examples, on any device.
    batch_size
        Examples per batch. The last one is short; one of a single example joins the one before.
    generator
        Of the CPU; the draws are the same on every device and for every block.
    augmentation
        Of images; or a function of one's own, see `own_augmentation`, which has a generator for
        each example that depends neither on the batch nor on the place within it. None leaves the
        inputs as they are.
    memory_format
        Of inputs that are images.

    Yields
    ------
    inputs, targets
        As of `Examples.batch`, in float32: views of larger tensors on the device of the examples.
    """
    shuffled = shuffled_batches(len(examples), batch_size, generator)
    sizes = [len(batch) for batch in shuffled]
    order = torch.cat(shuffled).to(examples.device)
    crops, seeds = None, None
    if isinstance(augmentation, Augmentation):
        crops = _draw(sizes, generator, augmentation, examples.device)
    elif augmentation is not None:
        seeds = torch.randint(2**63 - 1, (len(examples),), generator=generator)[torch.cat(shuffled)]
    per_block = max(1, _BLOCK // batch_size)
    end = 0
    for first in range(0, len(sizes), per_block):
        block = sizes[first : first + per_block]
        begin, end = end, end + sum(block)
        chosen = examples.subset(order[begin:end])
        if isinstance(augmentation, Augmentation):
            assert crops is not None
            offsets, flips = (draws[begin:end] for draws in crops)
            images = augment(chosen.inputs, offsets, flips, augmentation.padding)
            chosen = replace(chosen, inputs=images)
        elif augmentation is not None:
            assert seeds is not None
            made = transformed(chosen.inputs, augmentation, seeds[begin:end])
            chosen = replace(chosen, inputs=made)
        inputs, targets = chosen.batch(slice(None))
        if chosen.are_images:
            inputs = inputs.contiguous(memory_format=memory_format)
        yield from zip(trees.split(inputs, block), trees.split(targets, block), strict=True)


def shuffled_batches(
    num_examples: int, batch_size: int, generator: torch.Generator
) -> list[Tensor]:
    """Cut a random permutation into batches; a last one of a single example joins the one before.

    A single example has no batch statistics.
    """
    shuffled = list(torch.randperm(num_examples, generator=generator).split(batch_size))
    if len(shuffled) > 1 and len(shuffled[-1]) == 1:
        shuffled[-2:] = [torch.cat(shuffled[-2:])]
    return shuffled


def _draw(
    sizes: list[int],
    generator: torch.Generator,
    augmentation: Augmentation,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Draw offsets and flips, batch after batch, and copy them at once."""
    draws = [draw_crops(size, generator, *augmentation) for size in sizes]
    offsets, flips = zip(*draws, strict=True)
    return torch.cat(offsets).to(device), torch.cat(flips).to(device)
