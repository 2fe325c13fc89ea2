"""How many examples carry an eigenvalue: what tells heavy tails from the data."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory.predictions.noise import SubspaceNoise


def effective_examples(mean: ArrayLike, variance: ArrayLike, num_examples: float) -> NDArray:
    """Count the examples that carry a mean of curvatures q_i = uᵀ H_i u, by participation ratio.

    (sum_i q_i)² / sum_i q_i² = N / (1 + variance / mean²). It is k where k examples contribute
    alike and the others nothing, N where all do. So (mean / standard error)² = z² is about as
    large as it, unless it is near N: an eigenvalue that few examples carry is known from another
    sample to the part 1 / sqrt(effective_examples) of itself.

    Parameters
    ----------
    mean, variance
        Of q_i over the examples, any shapes that fit together.
    num_examples
        N.

    Returns
    -------
    NDArray
        Between 0, where curvatures of both signs cancel, and N; NaN where either is missing.
    """
    square = np.square(np.asarray(mean, dtype=np.float64))
    total = square + np.asarray(variance, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total == 0, 0.0, num_examples * square / total)


def of_ritz_vectors(noise: SubspaceNoise) -> NDArray:
    """Count the examples that carry each Ritz value, from groups of g examples.

    g times the variance over random groups estimates that over single examples.

    Returns
    -------
    NDArray
        One for each of `noise.ritz_values`, shape (k,).
    """
    k = len(noise.ritz_values)
    quotients = noise.projected[:, range(k), range(k)].astype(np.float64)
    variance = noise.group_size * quotients.var(axis=0, ddof=1)
    return effective_examples(quotients.mean(axis=0), variance, noise.num_examples)
