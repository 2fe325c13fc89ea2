"""Random batches drawn from what was measured of groups of examples, within a few vectors."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from truehessian import streams
from truehessian.theory.predictions import coupling
from truehessian.theory.predictions.base import (
    OF_DRAWS,
    Known,
    Predicted,
    Prediction,
    sign_of,
)
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.predictions.isotropic import buried
from truehessian.theory.predictions.noise import SubspaceNoise

DRAWS_PER_RESAMPLE = 12


class SubspacePrediction(NamedTuple):
    """Predicted distribution of a batch's extremal eigenvalues over random batches.

    Attributes
    ----------
    mean, standard_deviation
        Of the extreme eigenvalue over the draws; NaN where the groups cannot make up a batch.
    draws
        One predicted extreme eigenvalue per random batch, shape (draws,).
    ranked
        The outermost eigenvalues of this end from the extreme inwards, shape (draws, ranks).
    standard_errors
        Of the means over draws of `ranked`, shape (ranks,): that of having drawn so few, and that
        of having so few groups, by bootstrap of the shift; NaN without resamples. It holds
        nothing of what the leak leaves out. Where groups are single examples they are all that
        there is, and the bootstrap errs on the wide side.
    overlaps
        Squared components of the batch's extreme eigenvector along the k Ritz vectors, shape
        (draws, k).
    """

    mean: float
    standard_deviation: float
    draws: NDArray
    ranked: NDArray
    standard_errors: NDArray
    overlaps: NDArray


def subspace(
    ritz_values: NDArray,
    projected: NDArray,
    leak: NDArray,
    hessian: NDArray | None = None,
    *,
    group_size: int,
    batch_size: int,
    num_examples: int,
    end: str,
    draws: int = 400,
    seed: int = 0,
    ranks: int = 1,
    resamples: int = 0,
) -> SubspacePrediction:
    """Predict the distribution of a batch's extremal eigenvalues by drawing batches of groups.

    Within the span U of K vectors a batch is drawn exactly, from the groups' projected Hessians;
    what leaves the span enters by its mean. With A = Uᵀ H U + mean of h_G over the drawn groups,
    h_G = Uᵀ (H_G - H) U, and W the leak, an eigenvalue z solves z = eigenvalue of A + f W / z.
    Exact for every batch when U is the whole space.

    W is screened first: where the noise of few examples is of one sign, as that of Gauss-Newton
    matrices, what leaks out has curvature θ of this sign of its own. At the other end the response
    1/z becomes 1/(z - θ), each group with the θ that it has within the span.

    Parameters
    ----------
    ritz_values, projected, leak, hessian, group_size, num_examples
        The fields of `SubspaceNoise`.
    batch_size
        B, a multiple of `group_size` that the groups can make up.
    end
        Which end of the spectrum to predict.
    draws
        How many batches to draw.
    seed
        Of the draws and resamples.
    ranks
        How many eigenvalues of this end to predict, at most K.
    resamples
        Bootstrap samples of the groups, for the standard errors.

    Returns
    -------
    SubspacePrediction
        All NaN when `batch_size` is no multiple of `group_size` or exceeds the groups' examples.

    Raises
    ------
    ValueError
        The shapes do not fit together, `draws` is below 2, `ranks` is not in 1 .. K or `end` is
        unknown.
    """
    sign, centre = sign_of(end), np.diag(ritz_values) if hessian is None else hessian
    k = len(ritz_values)
    _check(centre, projected, leak, draws, ranks)
    per_batch, remainder = divmod(batch_size, group_size)
    if remainder or not 1 <= per_batch <= len(projected):
        return _missing(draws, ranks, k)

    generator = streams.generator(seed, "predicted batches", batch_size)
    noise = sign * projected.astype(np.float64)
    deviations = noise - noise.mean(axis=0)
    batches = sign * centre + _draw(deviations, per_batch, draws, generator)
    factor = finite_population_factor(batch_size, num_examples)
    screened = coupling.screened(factor * leak, batches, deviations, group_size / batch_size)
    values, vectors = np.linalg.eigh(coupling.coupled(batches, screened))
    ranked = values[:, : -ranks - 1 : -1]
    own = _places(end, ranks, k)
    resampled = [
        _resampled(deviations, sign * centre, screened, per_batch, own, generator)
        for _ in range(resamples)
    ]
    errors = _standard_errors(resampled, ranked)
    return _summed_up(sign * ranked, errors, vectors[:, :k, -1] ** 2)


def _check(centre: NDArray, projected: NDArray, leak: NDArray, draws: int, ranks: int) -> None:
    order = len(centre)
    if projected.shape[1:] != (order, order) or leak.shape != (order, order):
        raise ValueError(
            f"projected and leak must have shapes (groups, {order}, {order}) and ({order}, "
            f"{order}) for {order} vectors, got {projected.shape} and {leak.shape}"
        )
    if draws < 2 or not 1 <= ranks <= order:
        raise ValueError(
            f"draws must be at least 2 and ranks in 1 .. {order}, got {draws} and {ranks}"
        )


def _summed_up(ranked: NDArray, errors: NDArray, overlaps: NDArray) -> SubspacePrediction:
    extreme = ranked[:, 0]
    deviation = float(extreme.std(ddof=1))
    return SubspacePrediction(float(extreme.mean()), deviation, extreme, ranked, errors, overlaps)


def _missing(draws: int, ranks: int, k: int) -> SubspacePrediction:
    shapes = ((draws,), (draws, ranks), (ranks,), (draws, k))
    return SubspacePrediction(math.nan, math.nan, *(np.full(shape, math.nan) for shape in shapes))


def _draw(
    deviations: NDArray, per_batch: int, draws: int, generator: np.random.Generator
) -> NDArray:
    """Means over random groups of their deviations, shape (draws, K, K)."""
    if per_batch == len(deviations):
        return np.zeros((draws, *deviations.shape[1:]))
    chosen = np.stack(
        [
            generator.choice(len(deviations), per_batch, replace=False, shuffle=False)
            for _ in range(draws)
        ]
    )
    weights = np.zeros((draws, len(deviations)))
    np.put_along_axis(weights, chosen, 1 / per_batch, axis=1)
    return np.tensordot(weights, deviations, axes=1)


def _places(end: str, ranks: int, k: int) -> NDArray:
    """Numbers of the Ritz vectors of the outermost eigenvalues of an end, as far as there are."""
    begin, stop = (0, (k + 1) // 2) if end == "largest" else ((k + 1) // 2, k)
    return np.minimum(begin + np.arange(ranks), max(stop - 1, 0))


def _resampled(
    deviations: NDArray,
    centre: NDArray,
    leak: NDArray,
    per_batch: int,
    places: NDArray,
    generator: np.random.Generator,
) -> tuple[NDArray, NDArray]:
    """Mean shift over a few draws from one bootstrap sample of the groups, and its variance.

    The shift of second order: what an eigenvalue has beyond the batch's quotient along its own Ritz
    vector. The mean of that quotient is known, and no resampling may pretend otherwise.
    """
    sample = deviations[generator.integers(len(deviations), size=len(deviations))]
    batches = centre + _draw(sample, per_batch, DRAWS_PER_RESAMPLE, generator)
    ranked = np.linalg.eigvalsh(coupling.coupled(batches, leak))[:, : -len(places) - 1 : -1]
    shifts = ranked - batches[:, places, places]
    return shifts.mean(axis=0), shifts.var(axis=0, ddof=1) / DRAWS_PER_RESAMPLE


def _standard_errors(resampled: list[tuple[NDArray, NDArray]], ranked: NDArray) -> NDArray:
    """Errors of the means of `ranked`: of having so few draws, and of having so few groups."""
    if not resampled:
        return np.full(ranked.shape[1], math.nan)
    means, within = map(np.stack, zip(*resampled, strict=True))
    between = means.var(axis=0, ddof=1) if len(means) > 1 else np.zeros(ranked.shape[1])
    groups = np.maximum(between - within.mean(axis=0), 0)
    return np.sqrt(groups + ranked.var(axis=0, ddof=1) / len(ranked))


@functools.lru_cache(maxsize=2)
def _drawn(known: Known, source: str) -> SubspacePrediction | None:
    """Draw batches of this size once; None where nothing was measured that makes one up."""
    noise = getattr(known, source)
    if noise is None:
        return None
    drawn = subspace(
        **noise._asdict(),
        batch_size=known.batch_size,
        end=known.end,
        draws=known.how.draws,
        seed=known.how.seed,
        ranks=min(known.how.ranks, len(noise.leak)),
        resamples=known.how.resamples,
    )
    return None if math.isnan(drawn.mean) else drawn


# Share of the shift that is missed, root mean square, where little leaks, on the networks of
# docs/predictions.md, and what comes on top where all the noise of a buried eigenvalue leaks.
DOUBT, LEAK_DOUBT = 0.12, 0.6


def doubt(known: Known, source: str = "noise") -> NDArray:
    """Say how far drawn batches are expected to miss, by the noise that leaks out of their span.

    The leak enters by its mean, and without curvature of its own but for `coupling.screened`. That
    matters little where the eigenvalue is far above its noise, and much where it is buried.
    """
    noise: SubspaceNoise | None = getattr(known, source)
    shares = np.full(len(known.eigenvalues), math.nan)
    if noise is None:
        return shares
    own = _places(known.end, len(shares), len(noise.ritz_values))
    along = np.array([each.value for each in known.along])
    leak = np.clip(noise.leak.diagonal()[own], 0, None)
    shares = np.divide(leak, along, out=np.zeros_like(along), where=along != 0)
    lost = np.minimum(shares, 1) * buried(known)
    return DOUBT + LEAK_DOUBT * np.nan_to_num(lost, nan=1.0)  # what is not known may be all


def predict(known: Known, source: str = "noise") -> Predicted:
    """Sum up drawn batches, of what `known` has under the name `source`."""
    drawn, count = _drawn(known, source), len(known.eigenvalues)
    if drawn is None:
        return Predicted.missing(count, OF_DRAWS)
    ranked = drawn.ranked
    return Predicted.of_draws(ranked, ranked.mean(axis=0), drawn.standard_errors, count)


def overlap(known: Known, source: str = "noise") -> NDArray:
    """Average the overlaps of drawn batches, of what `known` has under the name `source`."""
    drawn = _drawn(known, source)
    found = np.full(len(known.eigenvalues), math.nan)
    if drawn is None:
        return found
    per_end = len(getattr(known, source).ritz_values) // 2
    begin = 0 if known.end == "largest" else per_end
    count = min(per_end, len(found))
    found[:count] = [drawn.overlaps[:, begin + rank].mean() for rank in range(count)]
    return found


SUBSPACE = Prediction(
    name="subspace",
    label="subspace",
    marker="D",
    colour="pink",
    assumption="draws batches within the span of the extremal Ritz vectors",
    predict=predict,
    overlap=overlap,
    overlap_rule="the eigenvectors of the drawn batches",
    further=OF_DRAWS,
    passes=lambda known: math.nan if known.noise is None else len(known.noise.leak),
    doubt=doubt,
)
