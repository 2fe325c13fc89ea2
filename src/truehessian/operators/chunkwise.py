"""Products of each chunk of a mean by itself, with many chunks in one graph where that pays."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from truehessian.data.examples import chunk_slices
from truehessian.devices import available_bytes
from truehessian.operators.folds import Folds, Group
from truehessian.operators.mean import NetworkOperator


class OfChunk(NamedTuple):
    """What one chunk gives: its number, how many examples it has, and products (k, P)."""

    number: int
    size: int
    products: Tensor


def products_by_chunk(
    operator: NetworkOperator, block: Tensor, *, memory: int | None = None
) -> Iterator[OfChunk]:
    """Multiply the mean matrix of each chunk with k vectors, as `chunk_products` does.

    Small chunks of one size go in one graph, see `folds`.

    Parameters
    ----------
    operator
        A mean over examples.
    block
        Vectors as rows, shape (k, P).
    memory
        Bytes of which an eighth may hold products of several chunks; what is free by default.

    Yields
    ------
    OfChunk
        Chunks of one size in their order, with products in the operator's dtype.

    Raises
    ------
    FloatingPointError
        A product holds NaN or infinity; said after all chunks.
    """
    groups = _groups(operator, len(block), memory)
    if all(len(group.numbers) == 1 for group in groups):
        number = 0
        for size, products in operator.chunk_products(block):
            yield OfChunk(number, size, products)
            del products  # or it would lie beside those of the next chunk
            number += 1  # noqa: SIM113 (`enumerate` would hold them as well)
        return
    block = block.to(operator.device, operator.dtype)
    finite = []
    for group in groups:
        products = group.products_of_all(block, block.dtype)
        group.free()
        finite.append(torch.isfinite(products.sum()))
        for number, own in zip(group.numbers, products, strict=True):
            yield OfChunk(number, group.num_examples, own)
        del products, own
    if not bool(torch.stack(finite).all()):
        for _ in operator.chunk_products(block):
            pass  # says in which chunk, and why
        raise FloatingPointError(f"a {operator.name} product of some chunks holds NaN or infinity")


def _groups(operator: NetworkOperator, count: int, memory: int | None) -> list[Group]:
    """Divide chunks into groups; none, where the data cannot be divided."""
    data: Any = operator.data
    if not getattr(operator, "goes_in_folds", False) or not hasattr(data, "subset"):
        return []
    if min(operator.weights.chunks) <= 0:  # a chunk by itself would have no mean
        return []
    size = operator.chunk_size

    def part(own: slice) -> NetworkOperator:
        return operator.with_data(data.subset(torch.arange(own.start, own.stop)), size)

    room = (available_bytes(operator.device) if memory is None else memory) // 8
    most = room // (count * operator.num_params * operator.dtype.itemsize)
    slices = chunk_slices(operator.num_examples, size)
    if most < 2:
        return []
    first = Folds.over([part(own) for own in slices[:2]])
    if len(first.groups()) == len(first.operators):
        return []  # found out from the first two, so that the others need not be made
    return first.with_more([part(own) for own in slices[2:]]).groups(most=most)
