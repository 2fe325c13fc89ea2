"""Variance of per-example curvature along directions, in one pass over the data per direction.

V(u) = (1/N) sum_i ||(H_i - H) u||² decides how far the Hessian of a random batch is from that of
all the data: E ||(H_B - H) u||² = f V(u) with f = (N - B) / (B (N - 1)).
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.gram_schmidt import raised
from truehessian.lanczos import probe_vector
from truehessian.leak import LeakSketch
from truehessian.operators import NetworkOperator
from truehessian.subspace import SubspaceNoise, split_noise, widened


class DirectionalVariance(NamedTuple):
    """Estimates along K directions from one pass over n random groups.

    Attributes
    ----------
    variance
        V(u), unbiased for every group size, shape (K,), float64.
    standard_error
        Of V(u), shape (K,).
    quotient
        uᵀ H u, shape (K,).
    quotient_standard_error
        Of uᵀ H u as an estimate for the distribution that the examples come from, shape (K,).
    covariance
        (1/N) sum_i (H_i - H) u_a · (H_i - H) u_b for all pairs, unbiased, shape (K, K).
    projected
        U^T H_G U for every group of full size, shape (groups, K, K).
    beside
        Bᵀ H_G U for every group of full size and further vectors B, shape (groups, L, K).
    mean_projected, mean_beside
        The same for all examples, shapes (K, K) and (L, K).
    group_size, num_examples
        g and N.
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


def along_directions(
    operator: NetworkOperator,
    directions: Tensor,
    *,
    beside: Tensor | None = None,
    sketch: LeakSketch | None = None,
) -> DirectionalVariance:
    """Estimate the variance of per-example curvature along unit vectors.

    The operator's chunks are the groups, so its examples must be in random order and its chunk
    size is the group size g. With S the mean over groups of ||(H_G - H) u||², the estimate
    S g (N - 1)/(N - g) is unbiased for every g; g = 1 is the definition. A short last group
    counts by its size.

    The spread is accumulated by Welford's recurrence, whose increments have equal expectations
    and are uncorrelated but for fourth cumulants; their spread gives the standard error without
    keeping n vectors of length P. Time: one product per direction. Memory: K vectors.

    Parameters
    ----------
    operator
        Mean over examples, whatever the matrix: Hessian, GGN.
    directions
        Unit vectors as rows, shape (K, P).
    beside
        Further vectors B as rows, shape (L, P), that the products are projected on.
    sketch
        Takes in the products of the last directions, which are its span.

    Raises
    ------
    ValueError
        Batch statistics are on (then H is no mean over examples), there are fewer than two
        groups, or the directions are not unit vectors.

    References
    ----------
    Granziol et al., mini-batch paper, Eq. 9 (for random directions). Welford (1962),
    Technometrics 4(3), 419-420.
    """
    _check(operator, directions)
    directions = directions.to(operator.device, operator.dtype)
    exact = directions.double()
    empty = exact.new_zeros(0, exact.shape[1])
    moments = _Moments(exact, empty if beside is None else beside.to(exact), sketch)
    for size, products in operator.chunk_products(directions):
        moments.add(size, products)
    return moments.estimate(operator.num_examples, operator.chunk_size)


def of_subspace(
    operator: NetworkOperator,
    vectors: Tensor,
    values: NDArray,
    estimate: DirectionalVariance,
    sketch: LeakSketch,
) -> SubspaceNoise:
    """Measure the noise within Ritz vectors and the directions that it turns them to.

    Time: one more product per direction of the sketch.

    Parameters
    ----------
    operator
        As in `along_directions`.
    vectors, values
        The k Ritz vectors as rows, shape (k, P), and their values.
    estimate, sketch
        From a pass whose last k directions were the vectors.
    """
    own = slice(len(estimate.variance) - len(vectors), None)
    first = (
        estimate.covariance[own, own].cpu().numpy(),
        estimate.projected[:, own, own].cpu().numpy(),
    )
    leaks = sketch.directions()
    if not len(leaks):
        return split_noise(
            values,
            *first,
            group_size=estimate.group_size,
            num_examples=estimate.num_examples,
        )
    further = along_directions(operator, leaks, beside=vectors)
    return widened(
        values,
        first,
        further.beside.cpu().numpy(),
        (further.covariance.cpu().numpy(), further.projected.cpu().numpy()),
        (further.mean_beside.cpu().numpy(), further.mean_projected.cpu().numpy()),
        group_size=estimate.group_size,
        num_examples=estimate.num_examples,
    )


def random_directions(num_params: int, count: int, seed: int) -> Tensor:
    """Draw unit vectors uniformly from the sphere.

    Returns
    -------
    Tensor
        Shape (count, P), float64, on the CPU; each depends on the seed and its number only.
    """
    draws = [probe_vector(num_params, seed, number, purpose="direction") for number in range(count)]
    return torch.nn.functional.normalize(torch.stack(draws), dim=1)


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


class _Moments:
    """Running weighted mean and scatter of the groups' products."""

    def __init__(self, directions: Tensor, beside: Tensor, sketch: LeakSketch | None) -> None:
        count = len(directions)
        self.directions = directions
        self.onto = torch.cat([directions, beside])
        self.sketch = sketch
        self.weight = 0.0
        self.mean = torch.zeros_like(directions)
        self.scatter = directions.new_zeros(count, count)
        self.increments: list[Tensor] = []
        self.projected: list[Tensor] = []
        self.sizes: list[int] = []

    def add(self, size: int, products: Tensor) -> None:
        share = size * self.weight / (self.weight + size)
        self.weight += size
        increment = torch.zeros_like(self.scatter)
        projected = self.onto.new_zeros(len(self.onto), len(self.directions))
        deviations = []
        for columns, part in raised(products):
            projected += self.onto[:, columns] @ part.T
            deviation = part.sub_(self.mean[:, columns])
            increment += deviation @ deviation.T
            self.mean[:, columns].add_(deviation, alpha=size / self.weight)
            if self.sketch is not None:
                deviations.append(deviation[-len(self.sketch.span) :].clone())
        if share:
            increment *= share
            self.scatter += increment
            self.increments.append(increment.diagonal().clone())
            if self.sketch is not None:
                self.sketch.add(share**0.5 * torch.cat(deviations, dim=1))
        self.projected.append(projected)
        self.sizes.append(size)

    def estimate(self, num_examples: int, group_size: int) -> DirectionalVariance:
        groups = len(self.sizes)
        # E sum_j g_j ||(H_j - H) u||² = V(u) N (n - 1)/(N - 1) for n random groups of any sizes.
        scale = (num_examples - 1) / (num_examples * (groups - 1))
        covariance = scale * self.scatter
        increments = torch.stack(self.increments) * (scale * (groups - 1))
        error = _standard_error(increments)
        projected = torch.stack(self.projected)
        sizes = torch.tensor(self.sizes, dtype=torch.float64, device=projected.device)
        count = len(self.directions)
        quotients = projected[:, :count].diagonal(dim1=1, dim2=2)  # (groups, K)
        quotient = (sizes[:, None] * quotients).sum(0) / num_examples
        spread = (sizes[:, None] * (quotients - quotient) ** 2).sum(0) / (groups - 1)
        whole, mean = projected[sizes == group_size], self.onto @ self.mean.T
        return DirectionalVariance(
            covariance.diagonal().clone(),
            error,
            quotient,
            (spread / num_examples).sqrt(),
            covariance,
            whole[:, :count],
            whole[:, count:],
            mean[:count],
            mean[count:],
            group_size,
            num_examples,
        )


def _standard_error(samples: Tensor) -> Tensor:
    """Of the mean over the first axis; NaN for a single sample."""
    if len(samples) < 2:
        return torch.full_like(samples[0], float("nan"))
    return samples.std(0) / len(samples) ** 0.5


def _check(operator: NetworkOperator, directions: Tensor) -> None:
    if operator.batchnorm == "train":
        raise ValueError(
            "the variance over examples is not defined with batch statistics; use batchnorm: eval"
        )
    if operator.num_examples <= operator.chunk_size:
        raise ValueError(
            f"at least two groups are needed: {operator.num_examples} examples make one group of "
            f"{operator.chunk_size}; choose a smaller group_size"
        )
    norms = directions.double().norm(dim=1)
    if not torch.allclose(norms, torch.ones_like(norms), atol=1e-4):
        raise ValueError(f"directions must be unit vectors, their norms are {norms.tolist()}")
