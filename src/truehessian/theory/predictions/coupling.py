"""How the noise that leaves the span of a few vectors enters the eigenvalues within it."""

import numpy as np
from numpy.typing import NDArray

_SCREENING_STEPS = 4
_SCREENING_DRAWS = 50


def coupled(matrices: NDArray, leak: NDArray) -> NDArray:
    """Matrices whose outer eigenvalues solve z = eigenvalue of A + W / z.

    Eliminating the lower half of the eigenvectors of [[A, √W], [√W, 0]] gives just this
    equation: the leaked noise couples the span to directions of eigenvalue zero. Iterating the
    equation itself falls into a two-cycle when A is small. Without a leak there is nothing to
    couple to, and A alone answers, whatever its sign.
    """
    values, vectors = np.linalg.eigh((leak + leak.T) / 2)
    if not np.any(values > 0):
        return matrices
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    k = len(leak)
    coupled = np.zeros((len(matrices), 2 * k, 2 * k))
    coupled[:, :k, :k] = matrices
    coupled[:, :k, k:] = coupled[:, k:, :k] = root
    return coupled


def screened(leak: NDArray, batches: NDArray, noise: NDArray, share: float) -> NDArray:
    """Weaken the leak by what it carries of the other sign; the wanted end is the largest.

    The eigenvalue z that the response depends on is that of the mean draw, found by iteration
    from the unscreened leak, which is an upper bound.
    """
    away = noise * (1 - np.eye(len(leak)))  # each vector's noise off itself, within the span
    weights = (away**2).sum(axis=1)  # (groups, K)
    theta = share * np.divide(
        (away * (noise @ away)).sum(axis=1), weights, out=np.zeros_like(weights), where=weights > 0
    )
    against, total = np.minimum(theta, 0), weights.sum(axis=0)
    screened, few = leak, batches[:_SCREENING_DRAWS]
    if not np.any(against < 0):
        return leak
    for _ in range(_SCREENING_STEPS):
        z = max(np.linalg.eigvalsh(coupled(few, screened))[:, -1].mean(), 1e-300)
        response = (weights / (1 - against / z)).sum(axis=0)
        root = np.sqrt(np.divide(response, total, out=np.ones_like(total), where=total > 0))
        screened = leak * root[:, None] * root
    return screened
