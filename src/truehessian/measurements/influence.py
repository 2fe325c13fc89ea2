"""What weights owe to their examples: each example's outputs as they would be without it.

Fitted weights know the examples that they were fitted to, so that these have small residuals and
little curvature. One Newton step for each example, away from what it has pulled the weights to,
gives the outputs that a network trained on all the others would have for it, and with them its own
curvature: all from the training set, without training again.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from truehessian.measurements import chunks_kept, conjugate_gradients
from truehessian.operators import NetworkOperator
from truehessian.operators.fisher import mean_gradient
from truehessian.operators.folds import Folds, Group
from truehessian.operators.ggn import GGN
from truehessian.operators.shifted import pushed_forward

logger = logging.getLogger(__name__)


class LeftOut(NamedTuple):
    """What the outputs of examples change by where each is left out of training.

    Attributes
    ----------
    offsets
        J_i d_i for each example, shape (n, ..) with the outputs' shape behind it, float64.
    residuals
        Of the systems that they are the solutions of, relative, shape (n,).
    steps
        Products that each took, shape (n,).
    """

    offsets: NDArray
    residuals: NDArray
    steps: NDArray


def leave_out(
    ggn: GGN,
    places: Sequence[int],
    *,
    damping: float,
    penalty: float = 0.0,
    tolerance: float = 1e-3,
    most: int = 100,
    at_once: int = 16,
    state: Path | None = None,
) -> LeftOut:
    """Move each example's outputs to where they would be without it, to first order in the weights.

    For an example of weight w_i and share s_i = w_i / sum_j w_j of the loss, the mean over the
    others with the penalty has the gradient -s_i (g_i + p w) at a minimum of all, and the
    Gauss-Newton matrix G - s_i G_i + (1 - s_i) d I with d = penalty + damping; one step of Newton's
    leads to d_i, and the outputs change by J_i d_i. For a linear model under squared errors with a
    penalty and no damping that is exact, with the leverage of linear regression.

    Parameters
    ----------
    ggn
        Of all examples and without a penalty, in batch normalisation's mode `eval`; its data can
        be taken apart (`Examples`, or a pair of tensors).
    places
        Of the examples.
    damping
        What keeps a step within the reach of training: 1 / time, see `theory.early_stopping`. Where
        it is infinite, nothing has been learned and nothing moves.
    penalty
        p of the penalty (p/2) |w|² that training went down.
    tolerance, most
        Of the conjugate gradients, see `conjugate_gradients.solve`.
    at_once
        Examples whose systems are solved together: each takes six vectors of length P in float64.
    state
        Folder for what a killed run needs to go on.

    Returns
    -------
    LeftOut
        In the order of `places`.

    Raises
    ------
    ValueError
        Batch statistics are on, or neither penalty nor damping is positive.

    References
    ----------
    Koh & Liang (2017), Understanding black-box predictions via influence functions, ICML; Rad &
    Maleki (2020), A scalable estimate of the out-of-sample prediction error via approximate
    leave-one-out cross-validation, JRSS B 82(4), for the leverage.
    """
    if ggn.batchnorm != "eval":
        raise ValueError("with batch statistics no example can be left out; use batchnorm: eval")
    if not penalty + damping > 0:
        raise ValueError(
            "penalty and damping are both zero, and the Gauss-Newton matrix alone has no inverse; "
            "give one of them"
        )
    shares = shares_of(ggn, places)
    counting = [number for number, share in enumerate(shares) if share > 0]
    chosen = [places[number] for number in counting]
    system = _System(ggn, chosen, shares[counting], penalty, penalty + damping)
    parts = []
    for first in range(0, len(counting), at_once):
        numbers = range(first, min(first + at_once, len(counting)))
        path = None if state is None else state / f"left-out-{first}.npz"
        measure = partial(system.solved, numbers, tolerance, most)
        parts.append(chunks_kept.kept(path, LeftOut, measure))
        logger.info("%d of %d examples left out", numbers[-1] + 1, len(counting))
    found = LeftOut(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    missed = int((found.residuals > tolerance).sum())
    if missed:
        logger.warning(
            "%d of %d systems were not solved to %g within %d steps, the worst to %.2g; more "
            "steps or a larger damping would",
            *(missed, len(counting), tolerance, most, found.residuals.max()),
        )
    return LeftOut(*(_spread(array, counting, len(places)) for array in found))


def shares_of(operator: NetworkOperator, places: Sequence[int]) -> Tensor:
    """Give the share of each of some examples in the weight of all, shape (n,), float64."""
    if operator.weights.are_equal:
        return torch.full((len(places),), 1 / operator.weights.total, dtype=torch.float64)
    data: Any = operator.data
    some = data.subset(torch.as_tensor(places))
    parts = [operator.loss.weights(t) for _, t in some.chunks(operator.chunk_size, operator.dtype)]
    own = torch.cat([part for part in parts if part is not None])
    return own.cpu().double() / operator.weights.total


class _System:
    """The equations of the examples that are left out, one for each."""

    def __init__(
        self, ggn: GGN, places: Sequence[int], shares: Tensor, penalty: float, ridge: float
    ) -> None:
        data: Any = ggn.data
        self._whole, self._penalty, self._ridge = ggn, penalty, ridge
        self._shares = shares.to(ggn.device)
        self._folds = Folds(ggn, [data.subset(torch.tensor([place])) for place in places])
        leaves = torch.cat([leaf.detach().reshape(-1) for leaf in ggn.network.leaves])
        self._weights = leaves.double()

    def solved(self, numbers: Sequence[int], tolerance: float, most: int) -> LeftOut:
        """Solve the equations of some examples, and push the solutions forward to their outputs."""
        own: list[Any] = [self._folds.operators[number] for number in numbers]
        gradients = torch.stack([mean_gradient(single) for single in own])
        right = self._shares[list(numbers)][:, None] * (gradients + self._penalty * self._weights)
        if np.isinf(self._ridge):
            right.zero_()
        groups = self._folds.groups(list(numbers))
        found = conjugate_gradients.solve(
            lambda rows, block: self._multiply(groups, [numbers[row] for row in rows], block),
            right,
            tolerance=tolerance,
            most=most,
        )
        for group in groups:
            group.free()
        pairs = zip(own, found.solutions, strict=True)
        pushed = torch.stack([pushed_forward(single, row)[0] for single, row in pairs])
        arrays = (pushed, found.residuals, found.steps)
        return LeftOut(*(array.cpu().numpy() for array in arrays))

    def _multiply(self, groups: Sequence[Group], numbers: Sequence[int], block: Tensor) -> Tensor:
        """Multiply G - s_i G_i + (1 - s_i) d I of some examples with a row of the block each."""
        shares = self._shares[list(numbers)][:, None]
        products = self._whole.matmat(block) + (1 - shares) * self._ridge * block
        places = {number: place for place, number in enumerate(numbers)}
        for group in groups:
            vectors = {
                number: block[places[number]] for number in group.numbers if number in places
            }
            if vectors:
                singles = group.products(vectors)
                for number, product in zip(vectors, singles, strict=True):
                    products[places[number]] -= shares[places[number]] * product
        return products


def _spread(array: NDArray, places: Sequence[int], count: int) -> NDArray:
    """Put rows at their places among zeros."""
    whole = np.zeros((count, *array.shape[1:]), dtype=array.dtype)
    whole[list(places)] = array
    return whole
