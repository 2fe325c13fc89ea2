"""Random batches put together from the parts of single examples."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from truehessian import streams
from truehessian.theory.predictions import batch_model
from truehessian.theory.predictions.base import OF_DRAWS, Known, Predicted, Prediction
from truehessian.theory.predictions.examples import ExampleParts, effective_number

# A batch costs more here than among groups of examples, and its quotients say most of what varies:
# so many times fewer draws than `Draws.draws`, and batches within U alone per draw.
_FEWER = 4
_WITHIN_PER_DRAW = 20
_PER_RESAMPLE = 6


class DrawnBatches(NamedTuple):
    """Models of random batches at one end.

    Attributes
    ----------
    values
        Outermost eigenvalues from the extreme inwards, shape (draws, R).
    mean, standard_error
        Of each rank over all batches, shape (R,); the error is that of having drawn so few and,
        where only a part of all examples was measured, of having so few of them.
    overlaps
        Squared components of the extreme eigenvector along the Ritz vectors of this end, shape
        (draws, K / 2).
    """

    values: NDArray
    mean: NDArray
    standard_error: NDArray
    overlaps: NDArray


def draw(
    parts: ExampleParts,
    batch_size: int,
    *,
    ranks: int = 1,
    draws: int = 100,
    seed: int = 0,
    resamples: int = 0,
) -> dict[str, DrawnBatches]:
    """Predict the distribution of a batch's outermost eigenvalues, at both ends.

    Every batch is a random set of examples, whose model `batch_model.matrix` has a few hundred
    rows. Means over few batches are made precise by control variates, whose means are known or
    cheap: the batch's quotient along its Ritz vector, and its eigenvalue within U alone.

    A part of all examples has a mean Hessian of its own: what is predicted is the shift of batches
    against that one, which is added to the eigenvalues of all the data. (To correct the matrix of
    each batch for that mean would give batches without the few examples that carry an eigenvalue
    what these have too much, with the wrong sign.)

    Parameters
    ----------
    parts
        Of single examples.
    batch_size
        B, at most N.
    ranks
        How many eigenvalues of each end, at most K / 2.
    draws
        How many batches, at least 5.
    seed
        Of the batches and resamples.
    resamples
        Bootstrap samples of the examples, for the error of having few of them.

    Returns
    -------
    dict
        By end, "largest" and "smallest".

    Raises
    ------
    ValueError
        `batch_size`, `ranks` or `draws` is not as above.
    """
    per_end = len(parts.ritz_values) // 2
    if draws < 5 or not 1 <= ranks <= per_end:
        raise ValueError(
            f"draws must be at least 5 and ranks in 1 .. {per_end}, got {draws} and {ranks}"
        )
    within = _within(parts, batch_size, _WITHIN_PER_DRAW * draws, seed)
    chosen = list(batch_model.batches(parts, batch_size, draws, seed))
    models = [batch_model.matrix(parts, own) for own in chosen]
    spectra = [np.linalg.eigvalsh(model) for model in models]
    whole = None if parts.are_all else _whole(parts, np.arange(len(parts.within)))
    resampled = _resampled(parts, batch_size, seed, resamples)
    found = {}
    for end, sign in (("largest", 1), ("smallest", -1)):
        values = np.stack([_outermost(own, sign, ranks) for own in spectra])
        controls = _controls(parts, within, models, sign, ranks)
        mean, error = _controlled(values, controls)
        error = np.hypot(error, _error_of_examples(resampled, sign, ranks))
        first = 0 if sign == 1 else per_end
        overlaps = [
            _extreme_vector(m, v[0])[first : first + per_end] ** 2
            for m, v in zip(models, values, strict=True)
        ]
        moved = 0.0
        if whole is not None:
            moved = parts.ritz_values[first : first + ranks] - _outermost(whole, sign, ranks)
        found[end] = DrawnBatches(values + moved, mean + moved, error, np.stack(overlaps))
    return found


def _outermost(ascending: NDArray, sign: int, ranks: int) -> NDArray:
    return ascending[..., ::-1][..., :ranks] if sign == 1 else ascending[..., :ranks]


def _within(parts: ExampleParts, batch_size: int, draws: int, seed: int) -> NDArray:
    """Uᵀ H_B U of many batches that are other ones than those of models, shape (draws, K, K)."""
    chosen = batch_model.batches(parts, batch_size, draws, seed, 1)
    return np.stack([parts.within[own].mean(axis=0, dtype=np.float64) for own in chosen])


def _controls(
    parts: ExampleParts, within: NDArray, models: list[NDArray], sign: int, ranks: int
) -> NDArray:
    """Control variates of each batch and rank, less their means, shape (draws, R, 2)."""
    k = len(parts.ritz_values)
    own = np.stack([model[:k, :k] for model in models])
    places = np.arange(ranks) + (0 if sign == 1 else k // 2)
    quotients = own[:, places, places] - parts.hessian[places, places]
    inner = _outermost(np.linalg.eigvalsh(own), sign, ranks)
    inner = inner - _outermost(np.linalg.eigvalsh(within), sign, ranks).mean(axis=0)
    return np.stack([quotients, inner], axis=2)


def _controlled(values: NDArray, controls: NDArray) -> tuple[NDArray, NDArray]:
    """Means of values less what their controls explain, and their standard errors, (R,) each."""
    means, errors = [], []
    for rank in range(values.shape[1]):
        design = np.column_stack([np.ones(len(values)), controls[:, rank]])
        weights, _, order, _ = np.linalg.lstsq(design, values[:, rank])
        left = values[:, rank] - design @ weights
        means.append(weights[0])
        errors.append(math.sqrt((left**2).sum() / max(len(values) - order, 1) / len(values)))
    return np.array(means), np.array(errors)


def _resampled(
    parts: ExampleParts, batch_size: int, seed: int, resamples: int
) -> list[tuple[NDArray, NDArray]]:
    """Spectra of bootstrap samples of a part of all examples: of each whole, and of its batches."""
    if parts.are_all or resamples < 2:
        return []
    generator = streams.generator(seed, "resampled parts", batch_size)
    found = []
    for number in range(resamples):
        sample = generator.integers(len(parts.within), size=len(parts.within))
        chosen = batch_model.batches(parts, batch_size, _PER_RESAMPLE, seed, 2, number)
        models = [batch_model.matrix(parts, sample[own]) for own in chosen]
        batches = np.stack([_ends(np.linalg.eigvalsh(model), parts) for model in models])
        found.append((_ends(_whole(parts, sample), parts), batches))
    return found


def _whole(parts: ExampleParts, sample: NDArray) -> NDArray:
    return np.linalg.eigvalsh(batch_model.matrix(parts, sample))


def _ends(ascending: NDArray, parts: ExampleParts) -> NDArray:
    """Outer eigenvalues, as many of each end as there are Ritz vectors."""
    count = len(parts.ritz_values) // 2
    return np.concatenate([ascending[:count], ascending[-count:]])


def _error_of_examples(
    resampled: list[tuple[NDArray, NDArray]], sign: int, ranks: int
) -> NDArray | float:
    """Find the error of having measured a part of all examples, (R,); zero where it is all.

    That of the shift of batches against all of the sample, less what is that of few batches.
    """
    if not resampled:
        return 0.0
    shifts = np.stack(
        [_outermost(own, sign, ranks) - _outermost(whole, sign, ranks) for whole, own in resampled]
    )  # (resamples, batches, R)
    within = (shifts.var(axis=1, ddof=1) / shifts.shape[1]).mean(axis=0)
    error: NDArray = np.sqrt(np.maximum(shifts.mean(axis=1).var(axis=0, ddof=1) - within, 0))
    return error


def _extreme_vector(matrix: NDArray, value: float) -> NDArray:
    """Eigenvector of an eigenvalue that is known, by inverse iteration."""
    size = np.abs(np.diagonal(matrix)).max() + abs(value) or 1.0
    shifted = matrix - (value + 1e-10 * size) * np.eye(len(matrix))
    vector: NDArray = np.ones(len(matrix))
    for _ in range(2):
        vector = np.linalg.solve(shifted, vector)
        vector /= np.linalg.norm(vector)
    return vector


@functools.lru_cache(maxsize=4)
def _drawn(
    parts: ExampleParts, batch_size: int, ranks: int, draws: int, seed: int, resamples: int
) -> dict[str, DrawnBatches]:
    return draw(parts, batch_size, ranks=ranks, draws=draws, seed=seed, resamples=resamples)


def _of(known: Known) -> DrawnBatches | None:
    """Draw batches of this size once for both ends; None where nothing was measured."""
    parts, how = known.parts, known.how
    if parts is None:
        return None
    ranks = min(how.ranks, len(parts.ritz_values) // 2)
    draws = max(how.draws // _FEWER, 5)
    resamples = how.resamples // _FEWER
    return _drawn(parts, known.batch_size, ranks, draws, how.seed, resamples)[known.end]


_FURTHER = (*OF_DRAWS, "carriers")


def _predict(known: Known) -> Predicted:
    drawn, count = _of(known), len(known.eigenvalues)
    if drawn is None or known.parts is None:
        return Predicted.missing(count, _FURTHER)
    found = Predicted.of_draws(drawn.values, drawn.mean, drawn.standard_error, count)
    first = 0 if known.end == "largest" else len(known.parts.ritz_values) // 2
    ranks = min(count, drawn.values.shape[1])
    carriers = np.full(count, math.nan)
    carriers[:ranks] = effective_number(known.parts)[first : first + ranks]
    return found._replace(further={**found.further, "carriers": carriers})


def _overlap(known: Known) -> NDArray:
    drawn = _of(known)
    found = np.full(len(known.eigenvalues), math.nan)
    if drawn is not None:
        count = min(drawn.overlaps.shape[1], len(found))
        found[:count] = drawn.overlaps.mean(axis=0)[:count]
    return found


# Share of the shift that is missed, root mean square, by a prototype on eight small perceptrons
# with a hundred classes.
DOUBT = {"largest": 0.06, "smallest": 0.11}


PARTS = Prediction(
    name="parts",
    label="parts",
    marker="X",
    colour="blue",
    assumption="puts batches together from the outer eigenpairs of single examples",
    predict=_predict,
    overlap=_overlap,
    overlap_rule="the eigenvectors of batches that are put together from examples",
    further=_FURTHER,
    passes=lambda known: math.nan if known.parts is None else known.parts.passes,
    doubt=lambda known: np.full(len(known.eigenvalues), DOUBT[known.end]),
)
