"""Random subsets of the data: batches, disjoint parts and orders, each from a stream of its own."""

import numpy as np
import torch
from numpy.typing import NDArray

from truehessian import streams
from truehessian.data.examples import Examples


def draw_folds(num_examples: int, batch_size: int, folds: int, seed: int) -> NDArray:
    """Draw subsets of the data, each without replacement and independent of the others.

    Returns
    -------
    NDArray
        Sorted positions, shape (folds, batch_size), int64. A fold depends on the seed, the batch
        size and its own number, so that more folds keep the ones before.

    Raises
    ------
    ValueError
        `batch_size` is not in 1 .. `num_examples`.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(f"batch_size must be in 1 .. {num_examples}, got {batch_size}")
    draws = [
        streams.generator(seed, "batch", batch_size, fold).permutation(num_examples)[:batch_size]
        for fold in range(folds)
    ]
    return np.sort(np.array(draws, dtype=np.int64), axis=1)


def disjoint_folds(num_examples: int, parts: int, seed: int, partition: int = 0) -> NDArray:
    """Cut the data at random into disjoint subsets of one size.

    Parameters
    ----------
    num_examples, parts, seed
        N, how many subsets, and what decides the cuts.
    partition
        Number of the partition, where there are several of one seed.

    Returns
    -------
    NDArray
        Sorted positions, shape (parts, num_examples // parts), int64; up to `parts` - 1 examples
        are left over. Depends on nothing but the arguments.

    Raises
    ------
    ValueError
        `parts` is not in 1 .. `num_examples`.
    """
    if not 1 <= parts <= num_examples:
        raise ValueError(f"parts must be in 1 .. {num_examples}, got {parts}")
    size = num_examples // parts
    order = streams.generator(seed, "partition", parts, partition).permutation(num_examples)
    return np.sort(order[: parts * size].reshape(parts, size), axis=1)


def shuffled(examples: Examples, seed: int, purpose: str = "groups") -> Examples:
    """Put examples in random order, so that consecutive groups are random groups.

    The order depends on the seed and on what it is for, see `streams.generator`.
    """
    order = streams.generator(seed, f"order: {purpose}").permutation(len(examples))
    return examples.subset(torch.from_numpy(order))


def disjoint_parts(examples: Examples, count: int) -> list[Examples]:
    """Cut examples into `count` parts of equal sizes, or nearly so, without changing the order."""
    return [examples.subset(part) for part in torch.arange(len(examples)).tensor_split(count)]
