"""Variance of per-example curvature along directions, in one pass over the data per direction.

V(u) = (1/N) sum_i ||(H_i - H) u||² decides how far the Hessian of a random batch is from that of
all the data: E ||(H_B - H) u||² = f V(u) with f = (N - B) / (B (N - 1)).

Where a loss gives examples weights w_i of mean w, H = sum_i w_i H_i / sum_i w_i, and the matrix of
a batch is a quotient of two sums. To first order in their spread it is the plain mean over the
batch of H + (w_i / w) (H_i - H), whose mean over all examples is H. These matrices take the place
of the H_i in all that is said of single examples: V(u) = (1/N) sum_i (w_i / w)² ||(H_i - H) u||².
"""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian import display
from truehessian.measurements.leak_sketch import LeakSketch
from truehessian.measurements.moments import GroupSums, Moments
from truehessian.measurements.slabs import Room
from truehessian.operators import NetworkOperator, penalty
from truehessian.operators.batches import chunk_sizes
from truehessian.operators.chunkwise import products_by_chunk
from truehessian.theory.predictions.noise import SubspaceNoise, split_noise, widened


class DirectionalVariance(NamedTuple):
    """Estimates along K directions from one pass over n random groups.

    Attributes
    ----------
    variance
        V(u), unbiased whatever sizes the groups have, shape (K,), float64.
    standard_error
        Of V(u), shape (K,).
    quotient
        uᵀ H u, shape (K,).
    quotient_standard_error
        Of uᵀ H u as an estimate for the distribution that the examples come from, shape (K,).
    covariance
        (1/N) sum_i (H_i - H) u_a · (H_i - H) u_b for all pairs, unbiased, shape (K, K).
    projected
        U^T H_G U for every group of `group_size` examples, shape (groups, K, K).
    beside
        Bᵀ H_G U for these groups and further vectors B, shape (groups, L, K).
    mean_projected, mean_beside
        The same for all examples, shapes (K, K) and (L, K).
    group_size
        g, the size of most groups.
    num_examples
        N.
    """

    variance: Tensor
    standard_error: Tensor
    quotient: Tensor
    quotient_standard_error: Tensor
    covariance: Tensor
    projected: Tensor
    beside: Tensor
    mean_projected: Tensor
    mean_beside: Tensor
    group_size: int
    num_examples: int

    def __repr__(self) -> str:
        """Show variances and quotients with their errors, and no matrix."""
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> display.Card:
        columns = (self.variance, self.standard_error, self.quotient, self.quotient_standard_error)
        write = (display.value, display.error, display.value, display.error)
        rows = [
            [own(number) for own, number in zip(write, numbers, strict=True)]
            for numbers in zip(*(column.tolist() for column in columns), strict=True)
        ]
        title = (
            f"Variance over N = {self.num_examples:,} examples along {len(rows)} directions, "
            f"groups of {self.group_size}"
        )
        header = ("V(u)", "standard error", "u·Au", "standard error")
        return display.Card(title, header, rows)


def along_directions(
    operator: NetworkOperator,
    directions: Tensor,
    *,
    beside: Tensor | None = None,
    sketch: LeakSketch | None = None,
    memory: int | None = None,
) -> DirectionalVariance:
    """Estimate the variance of per-example curvature along unit vectors.

    The operator's chunks are the groups, be they `chunk_size` examples each or batches of the
    user's own: the examples must be in random order. With n groups of sizes g_j, in all N examples,
    and their mean matrices H_j, E sum_j g_j ||(H_j - H) u||² = V(u) N (n - 1) / (N - 1) for any
    sizes, equal or not: each term has the mean V(u) (N - g_j) / (N - 1). Single examples are the
    definition. Where examples count with weights, a group's term has the factor r_j², the square
    of its mean weight in units of that of all, and the same holds exactly.

    The spread is accumulated by Welford's recurrence, whose increments have equal expectations
    and are uncorrelated but for fourth cumulants; their spread gives the standard error without
    keeping n vectors of length P. Time: one product per direction. Memory on the device: the
    directions and their products, a few K x P numbers in the operator's precision, K x P numbers
    in float64 and what the sketch takes, of which `memory` says where they lie, and slabs.

    Parameters
    ----------
    operator
        Mean over examples, whatever the matrix: Hessian, GGN.
    directions
        Unit vectors as rows, shape (K, P), on any device.
    beside
        Further vectors B as rows, shape (L, P), that the products are projected on.
    sketch
        Takes in the products of the last directions, which are its span.
    memory
        Bytes that mean and sketch may take on the device; half of what is free by default, and an
        eighth of it for products of several groups in one graph. What
        does not fit lies in host memory, or where that has not enough in files, and is read slab
        by slab; the log says where. The numbers are the same to rounding.

    Raises
    ------
    ValueError
        Batch statistics are on (then H is no mean over examples), there are fewer than two
        groups, or the directions are not unit vectors.
    MemoryError
        Mean and sketch fit nowhere.

    References
    ----------
    Granziol et al., mini-batch paper, Eq. 9 (for random directions). Welford (1962),
    Technometrics 4(3), 419-420.
    """
    sizes = group_sizes(operator)
    _check(operator, directions, sizes)
    directions = directions.to(operator.device, operator.dtype)
    onto = directions.new_empty(0, directions.shape[1]) if beside is None else beside
    weights, num_examples = operator.weights, operator.num_examples
    room = Room(operator.device, memory)
    moments = Moments(directions, onto, sketch, room, are_equal=weights.are_equal)
    for number, size, products in products_by_chunk(operator, directions, memory=memory):
        own = weights.chunks[number] / size / (weights.total / num_examples)
        moments.add(size, products, own)
        del products  # or it would lie beside those of the next group
    return _estimate(moments.sums(), operator.num_examples, statistics.mode(sizes))


def group_sizes(operator: NetworkOperator) -> list[int]:
    """Count the examples of each of an operator's chunks: batches of one's own, or `chunk_size`."""
    return chunk_sizes(operator.data, operator.chunk_size)


def of_subspace(
    operator: NetworkOperator,
    vectors: Tensor,
    values: NDArray,
    estimate: DirectionalVariance,
    sketch: LeakSketch | Tensor,
    *,
    memory: int | None = None,
) -> SubspaceNoise:
    """Measure the noise within Ritz vectors and the directions that it turns them to.

    Time: one more product per direction of the sketch.

    Parameters
    ----------
    operator
        As in `along_directions`, of the loss alone.
    vectors, values
        The k Ritz vectors as rows, shape (k, P), and their values.
    estimate, sketch
        From a pass whose last k directions were the vectors; or, in place of the sketch, further
        directions themselves, orthonormal rows (q, P) orthogonal to the vectors.
    memory
        As in `along_directions`.

    Raises
    ------
    ValueError
        No two groups have the same size, so that none can be set against another; or the operator
        has a weight decay, which is no noise.
    """
    penalty.check_absent(operator)
    if len(estimate.projected) < 2:
        raise ValueError(
            f"the noise within Ritz vectors needs at least two groups of one size, got "
            f"{len(estimate.projected)} of {estimate.group_size} examples; give batches of equal "
            "sizes"
        )
    own = slice(len(estimate.variance) - len(vectors), None)
    first = (
        estimate.covariance[own, own].cpu().numpy(),
        estimate.projected[:, own, own].cpu().numpy(),
    )
    leaks = sketch.directions() if isinstance(sketch, LeakSketch) else sketch
    sizes: dict[str, Any] = {
        "group_size": estimate.group_size,
        "num_examples": estimate.num_examples,
    }
    if not len(leaks):
        return split_noise(values, *first, **sizes)
    further = along_directions(operator, leaks, beside=vectors, memory=memory)
    return widened(
        values,
        first,
        further.beside.cpu().numpy(),
        (further.covariance.cpu().numpy(), further.projected.cpu().numpy()),
        (further.mean_beside.cpu().numpy(), further.mean_projected.cpu().numpy()),
        **sizes,
    )


def table(names: Sequence[str], estimate: DirectionalVariance, num_params: int) -> pd.DataFrame:
    """Put variances along named directions in a table.

    Returns
    -------
    DataFrame
        Columns direction, variance V(u), standard_error, element_variance V(u) / P (sigma² of
        Eq. 9 for a random direction), group_size, num_examples, num_parameters.
    """
    return pd.DataFrame(
        {
            "direction": list(names),
            "variance": estimate.variance.cpu(),
            "standard_error": estimate.standard_error.cpu(),
            "element_variance": estimate.variance.cpu() / num_params,
            "group_size": estimate.group_size,
            "num_examples": estimate.num_examples,
            "num_parameters": num_params,
        }
    )


def _estimate(sums: GroupSums, num_examples: int, group_size: int) -> DirectionalVariance:
    groups, count = sums.projected.shape[0], sums.projected.shape[2]
    scale = (num_examples - 1) / (num_examples * (groups - 1))
    covariance = scale * sums.scatter
    projected = _influences(sums)
    quotients = projected[:, :count].diagonal(dim1=1, dim2=2)  # (groups, K)
    quotient = (sums.sizes[:, None] * quotients).sum(0) / num_examples
    spread = (sums.sizes[:, None] * (quotients - quotient) ** 2).sum(0) / (groups - 1)
    whole = projected[sums.sizes == group_size]
    return DirectionalVariance(
        covariance.diagonal().clone(),
        _standard_error(sums.increments * (scale * (groups - 1))),
        quotient,
        (spread / num_examples).sqrt(),
        covariance,
        whole[:, :count],
        whole[:, count:],
        sums.mean_projected[:count],
        sums.mean_projected[count:],
        group_size,
        num_examples,
    )


def _influences(sums: GroupSums) -> Tensor:
    """Put what each group's matrix adds to the mean in its place, M + r_j (P_j - M), projected."""
    relative = sums.relative_weights[:, None, None]
    if bool((relative == 1).all()):
        return sums.projected
    return sums.mean_projected + relative * (sums.projected - sums.mean_projected)


def _standard_error(samples: Tensor) -> Tensor:
    """Of the mean over the first axis; NaN for a single sample."""
    if len(samples) < 2:
        return torch.full_like(samples[0], float("nan"))
    return samples.std(0) / len(samples) ** 0.5


def _check(operator: NetworkOperator, directions: Tensor, sizes: Sequence[int]) -> None:
    if operator.batchnorm == "train":
        raise ValueError(
            "the variance over examples is not defined with batch statistics; use batchnorm: eval"
        )
    if len(sizes) < 2:
        raise ValueError(
            f"at least two groups are needed: {operator.num_examples} examples make one group of "
            f"{sizes[0]}; choose a smaller group_size, or give more batches than one"
        )
    norms = torch.stack([row.double().norm() for row in directions])
    if not torch.allclose(norms, torch.ones_like(norms), atol=1e-4):
        raise ValueError(f"directions must be unit vectors, their norms are {norms.tolist()}")
