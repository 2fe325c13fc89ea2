"""A batch's Hessian as a matrix of small order, put together from the parts of its examples."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike, NDArray

from truehessian import streams
from truehessian.theory.predictions.examples import ExampleParts

LEVELS = 4


def modelled_spectra(
    parts: ExampleParts, batch_size: int, *, draws: int, seed: int = 0
) -> list[NDArray]:
    """Draw batches and give all eigenvalues of their models, ascending.

    Parameters
    ----------
    parts
        Of single examples.
    batch_size
        B, at most N.
    draws, seed
        How many batches, and of which stream; `parts` of the predictions has the same batches.

    Returns
    -------
    list of NDArray
        One array per batch, float64, of the order M of its model: K + (m B + K) + at most 4 K. Of
        the P eigenvalues of its Hessian the other P - M are taken for zero. They have no weight
        decay. Where not all examples were measured, batches are those of the ones that were, whose
        mean Hessian is not the full one.
    """
    return [
        np.linalg.eigvalsh(matrix(parts, chosen))
        for chosen in batches(parts, batch_size, draws, seed)
    ]


def batches(
    parts: ExampleParts, batch_size: int, draws: int, seed: int, *purpose: int
) -> Iterator[NDArray]:
    """Draw the positions of batches' examples among those that were measured, shape (B,) each.

    Where these are n of N, each stands for N / n: a batch is drawn without replacement from so many
    copies, so that it varies as much as one out of N. Numbers of a `purpose` give other batches.

    Raises
    ------
    ValueError
        `batch_size` is not in 1 .. N.
    """
    count, population = len(parts.within), parts.num_examples
    if not 1 <= batch_size <= population:
        raise ValueError(f"batch_size must be in 1 .. {population}, got {batch_size}")
    generator = streams.generator(seed, "batches of parts", batch_size, *purpose)
    for _ in range(draws):
        places = generator.choice(population, batch_size, replace=False, shuffle=False)
        yield np.sort(places * count // population)


def matrix(parts: ExampleParts, chosen: NDArray) -> NDArray:
    """Make the matrix of a batch in orthonormal coordinates of the space that is known of it.

    The first K coordinates are those of the Ritz vectors U, with the exact Uᵀ H_B U; then come
    those of the parts of the batch's examples outside U, with their curvatures and couplings to U;
    then directions that the rest of H_i U turns U to, which have the curvatures that the examples
    have there, in a few levels of equal weight.

    Parameters
    ----------
    parts
        Of single examples.
    chosen
        Positions of the batch's examples in it, shape (B,); an example may be there twice.

    Returns
    -------
    NDArray
        Symmetric, shape (M, M), float64. In the other P - M directions the batch's Hessian is taken
        for zero.
    """
    batch = len(chosen)
    upper = parts.within[chosen].mean(axis=0, dtype=np.float64)
    outer, coupling = _of_parts(parts, chosen)
    turned, curvatures = _of_rest(parts, chosen)
    k, n = len(upper), len(upper) + len(outer)
    made = np.zeros((n + len(turned), n + len(turned)))
    made[:k, :k] = (upper + upper.T) / 2
    made[k:n, k:n] = outer
    made[k:n, :k], made[:k, k:n] = coupling, coupling.T
    made[n:, :k], made[:k, n:] = turned / batch, turned.T / batch
    made[range(n, len(made)), range(n, len(made))] = curvatures / batch
    return made


def _of_parts(parts: ExampleParts, chosen: NDArray) -> tuple[NDArray, NDArray]:
    """Curvature outside U (n, n) and coupling to U (n, K), in orthonormal coordinates."""
    values = parts.values[chosen].ravel().astype(np.float64) / len(chosen)
    inside = parts.inside[chosen].reshape(len(values), -1)
    coordinates = _coordinates(parts, chosen)
    own, offset = coordinates[: len(values)], coordinates[len(values) :]
    outer = own.T @ (values[:, None] * own)
    return outer, own.T @ (values[:, None] * inside) + offset.T


def _coordinates(parts: ExampleParts, chosen: NDArray) -> NDArray:
    """Orthonormal coordinates of the examples' parts outside U, and of the offset behind them."""
    dimension = parts.outside.shape[-1]
    if chosen.size * parts.values.shape[1] + len(parts.offset) < dimension:
        gram = parts.gram(chosen)
        return _root(gram, gram.dtype)
    rows = [parts.outside[chosen].reshape(-1, dimension), parts.offset]
    return np.concatenate([own.astype(np.float64) for own in rows])


def _root(gram: NDArray, precision: DTypeLike) -> NDArray:
    """Rows whose inner products these are; vectors may depend on each other, or be zero."""
    size = float(np.trace(gram)) / len(gram)
    if not size > 0:
        return np.zeros(gram.shape)
    ridge = 100 * np.finfo(precision).eps * size
    root: NDArray = np.linalg.cholesky(gram.astype(np.float64) + ridge * np.eye(len(gram)))
    return root


def _of_rest(parts: ExampleParts, chosen: NDArray) -> tuple[NDArray, NDArray]:
    """Couplings of a few more directions (r, K) to U, and their curvatures (r,), of B times H_B."""
    grams, curvatures = parts.rest[chosen].astype(np.float64), parts.rest_values[chosen]
    weights = np.trace(grams, axis1=1, axis2=2)
    if not weights.sum() > 0:
        return np.zeros((0, grams.shape[1])), np.zeros(0)
    order = np.argsort(curvatures.sum(axis=1), kind="stable")
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    levels = np.minimum((LEVELS * share).astype(int), LEVELS - 1)
    # A mean over all examples keeps nothing of what its parts leave of each.
    left = (parts.num_examples - len(chosen)) / max(parts.num_examples - 1, 1)
    rows, own = [], []
    for level in range(LEVELS):
        members = order[levels == level]
        if weights[members].sum() > 0:
            rows.append(_root(left * grams[members].sum(axis=0), parts.rest.dtype).T)
            mean = np.average(curvatures[members], axis=0, weights=weights[members])
            # Upper vectors come first: what these turn to is of their curvature.
            own.append(np.repeat(mean, len(parts.ritz_values) // 2))
    return np.concatenate(rows), np.concatenate(own)
