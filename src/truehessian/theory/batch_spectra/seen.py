"""What a few steps of Lanczos see of a law: the same blur for what is predicted and measured.

m steps from one probe replace a spectrum by m nodes. Those go to the outliers first, and what is
left for the bulk is few. A predicted law that is known in full would be far from what was measured
for this alone: so it is looked at through as many steps.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from truehessian import streams
from truehessian.spectra.resolved import sharp
from truehessian.theory.rmt import DiscreteMeasure

_TINY = 1e-13  # of the width: what is left of a vector whose Krylov space is exhausted


def seen(
    law: DiscreteMeasure, steps: int, num_parameters: int, *, probes: int = 8, seed: int = 0
) -> DiscreteMeasure:
    """Look at a law by Lanczos from random probes.

    Parameters
    ----------
    law
        Spectrum of a symmetric matrix of order `num_parameters`.
    steps
        m.
    num_parameters
        P. An atom of mass w stands for P w eigenvalues: a probe sees it with a weight that is
        chi-squared of as many degrees over P.
    probes
        How many to average over.
    seed
        Of the probes.

    Returns
    -------
    DiscreteMeasure
        Nodes of all probes. Those that have converged to a part of the law have its mass and not
        the probe's, as by `spectra.resolved` in what is measured.

    References
    ----------
    Golub & Meurant (2010), Matrices, Moments and Quadrature, Ch. 3-4.
    """
    draw = streams.generator(seed, "probes of a law")
    squares = draw.gamma(num_parameters * law.weights / 2, size=(probes, len(law.nodes)))
    squares /= squares.sum(1, keepdims=True)
    found = quadratures(law.nodes, squares, min(steps, len(law.nodes)))
    weights = [_corrected(law, *row) for row in zip(*found, strict=True)]
    return DiscreteMeasure(found.nodes.ravel(), np.concatenate(weights) / probes)


def _corrected(
    law: DiscreteMeasure, nodes: NDArray, weights: NDArray, residuals: NDArray
) -> NDArray:
    """Weights of one probe, shape (m,), those of converged nodes as in the law."""
    between = (nodes[1:] + nodes[:-1]) / 2
    converged = sharp(nodes, residuals)
    masses = np.diff(np.concatenate([[0.0], law.cdf(between), [1.0]]))
    left, share = 1 - masses[converged].sum(), weights[~converged].sum()
    if not (left > 0 and share > 0):
        return masses
    return np.where(converged, masses, weights * left / share)


class Quadratures(NamedTuple):
    """Gauss quadratures, one in each row.

    Attributes
    ----------
    nodes, weights
        Shape (D, m): they integrate polynomials of degree below 2m as the measures do.
    residuals
        What Lanczos states for each node, same shape.
    """

    nodes: NDArray
    weights: NDArray
    residuals: NDArray


def quadratures(nodes: NDArray, weights: NDArray, steps: int) -> Quadratures:
    """Compute the Gauss quadratures of measures on the same nodes.

    Parameters
    ----------
    nodes
        Shape (K,).
    weights
        A measure in each row, shape (D, K), of sum 1.
    steps
        m, at most K.
    """
    count = len(weights)
    basis = np.zeros((count, steps + 1, len(nodes)))
    diagonal, off = np.zeros((count, steps)), np.zeros((count, steps))
    basis[:, 0] = np.sqrt(weights)
    tiny = _TINY * max(np.ptp(nodes), abs(nodes).max())
    for step in range(steps):
        vector = nodes * basis[:, step]
        diagonal[:, step] = (vector * basis[:, step]).sum(1)
        known = basis[:, : step + 1]
        for _ in range(2):
            shares = known @ vector[..., None]  # (D, step + 1, 1)
            vector -= (shares.transpose(0, 2, 1) @ known)[:, 0]
        norms = np.linalg.norm(vector, axis=1)
        alive = norms > tiny
        off[alive, step] = norms[alive]
        basis[alive, step + 1] = vector[alive] / norms[alive, None]
    jacobi = np.zeros((count, steps, steps))
    places = np.arange(steps)
    jacobi[:, places, places] = diagonal
    jacobi[:, places[1:], places[:-1]] = off[:, : steps - 1]
    values, vectors = np.linalg.eigh(jacobi)
    return Quadratures(values, vectors[:, 0] ** 2, off[:, -1:] * np.abs(vectors[:, -1]))
