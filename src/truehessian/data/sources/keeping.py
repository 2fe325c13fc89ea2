"""In which types tensors of examples are kept."""

import torch
from torch import Tensor

from truehessian.data import trees
from truehessian.data.sources.describing import Leaf, is_image_of_bytes
from truehessian.data.trees import Tree


def leaf_of(tensor: Tensor) -> Leaf:
    """Describe a tensor of examples (N, ...)."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Leaf(tuple(tensor.shape), dtype, lambda: (int(tensor.min()), int(tensor.max())))


def inputs(tree: Tree) -> Tree:
    """Bring whole numbers to int64, as embeddings want them; images of bytes stay."""
    is_image = isinstance(tree, Tensor) and is_image_of_bytes(leaf_of(tree))
    return tree if is_image else targets(tree)


def targets(tree: Tree) -> Tree:
    """Bring whole numbers to int64, as losses want them."""
    return trees.mapped(tree, lambda t: t.to(torch.int64) if leaf_of(t).is_whole else t)
