"""How much each chunk of an operator's examples counts."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.trees import Tree
from truehessian.networks.losses.base import nothing_counts
from truehessian.operators.batches import Data, chunk_sizes
from truehessian.operators.losses import FrozenLoss


class Weights(NamedTuple):
    """Weights of the mean over examples, sum_i w_i A_i / sum_i w_i.

    Attributes
    ----------
    chunks
        Sum of the weights of each chunk.
    total
        Of all examples.
    are_equal
        Whether all examples count alike; each then has the weight 1.
    """

    chunks: list[float]
    total: float
    are_equal: bool


def weights_of(loss: FrozenLoss, data: Data, chunk_size: int, dtype: torch.dtype) -> Weights:
    """Count the weights of all chunks, in one pass over the targets.

    Raises
    ------
    ValueError
        No example counts.
    """
    sizes = chunk_sizes(data, chunk_size)
    equal = Weights([float(size) for size in sizes], float(sum(sizes)), True)
    if not loss.has_weights:
        return equal
    sums, extremes = [], []
    for targets in _targets(data, chunk_size, dtype):
        weights = loss.weights(targets)
        if weights is None:
            return equal
        sums.append(weights.sum())
        extremes.append(torch.stack([weights.min(), weights.max()]))
    chunks = torch.stack(sums).tolist()
    least, most = torch.stack(extremes).cpu().T
    if not most.max() > 0:
        raise nothing_counts(loss.own)
    if least.min() == most.max():
        return equal
    return Weights(chunks, float(sum(chunks)), False)


def that_count(loss: FrozenLoss, targets: Tree, number: int) -> slice | Tensor:
    """Find the first examples, at most `number`, that have a weight."""
    weights = loss.weights(targets)
    if weights is None or bool((weights[:number] > 0).all()):
        return slice(0, number)
    return weights.nonzero()[:number, 0]


def _targets(data: Data, chunk_size: int, dtype: torch.dtype) -> Iterator[Tree]:
    """Go through the targets of all chunks, without making inputs where the data can tell."""
    own: Any = getattr(data, "targets", None)
    if own is None:
        yield from (targets for _, targets in data.chunks(chunk_size, dtype))
    else:
        yield from (trees.cast(part, dtype) for part in trees.split(own, chunk_size))
