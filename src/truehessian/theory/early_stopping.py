"""Training that ends early as a penalty on the weights, of which it is nearly one."""

import math
from collections.abc import Sequence


def damping(rates: Sequence[float], momentum: float = 0.0) -> float:
    """Find the penalty whose minimum is nearest to where gradient descent has come.

    On a quadratic loss, steps of rates eta_t bring the share 1 - exp(-lambda tau) of the way along
    an eigenvector of eigenvalue lambda, with the time tau = sum_t eta_t / (1 - beta). A penalty
    (d/2) |w|² brings lambda / (lambda + d) of it: with d = 1 / tau the same to first order where
    either is small, and nowhere apart by more than 0.21.

    Parameters
    ----------
    rates
        Learning rate of each step.
    momentum
        beta, which makes steps longer by 1 / (1 - beta).

    Returns
    -------
    float
        d; infinite where there was no step.

    References
    ----------
    Ali, Kolter & Tibshirani (2019), A continuous-time view of early stopping for least squares
    regression, arXiv 1810.10082.
    """
    time = math.fsum(rates) / (1 - momentum)
    return 1 / time if time else math.inf
