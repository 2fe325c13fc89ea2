"""What a variance over examples is made from: unit directions, and random groups of examples."""

from typing import Any

import torch
from torch import Tensor

from truehessian import streams
from truehessian.operators import NetworkOperator
from truehessian.spectra.lanczos import probe_vector


def unit_rows(directions: Tensor, size: int) -> Tensor:
    """Bring directions, (P,) or (n, P), to unit length as rows (n, P), float64.

    Raises
    ------
    TypeError
        They are no tensor.
    ValueError
        They have another length than P, are zero or not finite.
    """
    if not isinstance(directions, Tensor):
        raise TypeError(
            f"directions must be a torch.Tensor, got {type(directions).__name__}; "
            "torch.as_tensor makes one of an array"
        )
    rows = directions.unsqueeze(0) if directions.ndim == 1 else directions
    if rows.ndim != 2 or rows.shape[1] != size:
        raise ValueError(
            f"directions must be vectors as rows, shape (n, {size}), got {tuple(directions.shape)}"
        )
    rows = rows.double()
    lengths = rows.norm(dim=1)
    if not bool(((lengths > 0) & lengths.isfinite()).all()):
        raise ValueError("directions must be finite and other than zero")
    return rows / lengths[:, None]


def random_directions(num_params: int, count: int, seed: int) -> Tensor:
    """Draw unit vectors uniformly from the sphere.

    Returns
    -------
    Tensor
        Shape (count, P), float64, on the CPU; each depends on the seed and its number only.
    """
    draws = [probe_vector(num_params, seed, number, purpose="direction") for number in range(count)]
    return torch.nn.functional.normalize(torch.stack(draws), dim=1)


def of_random_examples(operator: NetworkOperator, group_size: int, seed: int) -> NetworkOperator:
    """Make an operator of the same matrix whose chunks are random groups of examples.

    Batches of one's own stay as they are. There are at least two groups where there are two
    examples.

    Raises
    ------
    ValueError
        `group_size` is no whole number from 1 on.
    """
    if isinstance(group_size, bool) or not isinstance(group_size, int) or group_size < 1:
        raise ValueError(f"group_size must be a whole number from 1 on, got {group_size}")
    data: Any = operator.data
    order = torch.from_numpy(
        streams.generator(seed, "order: variance").permutation(operator.num_examples)
    )
    if hasattr(data, "subset"):
        data = data.subset(order)
    return operator.with_data(data, min(group_size, max(operator.num_examples // 2, 1)))
