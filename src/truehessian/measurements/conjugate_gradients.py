"""Many systems of linear equations with positive definite matrices, by products alone."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Solved(NamedTuple):
    """Solutions of k systems, and how well they are known.

    Attributes
    ----------
    solutions
        As rows, shape (k, P), float64.
    residuals
        Length of what is left of the right sides, relative to theirs, shape (k,).
    steps
        Products that each of them took, shape (k,).
    """

    solutions: Tensor
    residuals: Tensor
    steps: Tensor


# Numbers of some of the systems and vectors as rows -> each one's product with its own matrix.
Multiply = Callable[[Sequence[int], Tensor], Tensor]


def solve(multiply: Multiply, right: Tensor, *, tolerance: float, most: int) -> Solved:
    """Solve A_i x_i = b_i for several i, each by a recurrence of its own, in common passes.

    Parameters
    ----------
    multiply
        Products with the A_i, which are symmetric and positive definite; asked for those systems
        only that are not solved yet.
    right
        The b_i as rows, shape (k, P), on the device of the products.
    tolerance
        Relative residual at which a system is solved.
    most
        Steps that a system takes at most.

    Returns
    -------
    Solved
        Sums are float64. Beside the solutions three vectors of length P are held for each system.

    References
    ----------
    Hestenes & Stiefel (1952), Methods of conjugate gradients for solving linear systems.
    """
    left = right.double().clone()
    solutions, along = torch.zeros_like(left), left.clone()
    lengths = left.square().sum(1)  # squared, of the residuals
    wanted = tolerance**2 * lengths
    steps = torch.zeros(len(left), dtype=torch.int64)
    for _ in range(most):
        open_ones = (lengths > wanted).nonzero()[:, 0]
        if not len(open_ones):
            break
        vectors = along[open_ones]
        products = multiply(open_ones.tolist(), vectors).double()
        curvature = (vectors * products).sum(1)
        step = (lengths[open_ones] / curvature)[:, None]
        solutions[open_ones] += step * vectors
        left[open_ones] -= step * products
        now = left[open_ones].square().sum(1)
        along[open_ones] = left[open_ones] + (now / lengths[open_ones])[:, None] * vectors
        lengths[open_ones] = now
        steps[open_ones.cpu()] += 1
    start = right.double().square().sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    return Solved(solutions, (lengths / start).sqrt(), steps)
