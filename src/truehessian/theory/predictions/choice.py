"""Which prediction to trust, said before a batch is measured."""

import math
from collections.abc import Mapping

import numpy as np

from truehessian.theory.predictions.base import Known, Predicted, sign_of


def choose(
    eigenvalue: float,
    factor: float,
    directional_variance: float,
    *,
    num_vectors: int,
    end: str,
    num_leaks: int = 0,
) -> str:
    """Say beforehand which prediction to trust.

    The subspace prediction knows batches in which a few examples carry the noise, and so holds
    where the directional one overshoots. It fails where the batch's extreme direction lies
    outside the span. With Ritz vectors alone that happens at the smallest end when the noise
    along the eigenvector exceeds the eigenvalue, f V > l²: below the transition the batch's
    extreme vector has no overlap left with it. At the largest end the noise lives in the leading
    vectors themselves, and directions that the noise turns the Ritz vectors to mend either end.

    Parameters
    ----------
    eigenvalue
        Extremal eigenvalue l of the full Hessian.
    factor
        Finite-population factor f of the batch.
    directional_variance
        V(u) along the eigenvector of `eigenvalue`; NaN if not measured.
    num_vectors
        k, the number of Ritz vectors of the subspace prediction; 0 if there is none for this
        batch.
    end
        Which end of the spectrum `eigenvalue` is.
    num_leaks
        How many directions beside the Ritz vectors the span holds.

    Returns
    -------
    str
        "subspace", "directional", or "goe" if neither was measured.

    Raises
    ------
    ValueError
        `end` is unknown.
    """
    upper = sign_of(end) == 1
    if math.isnan(directional_variance):
        return "subspace" if num_vectors else "goe"
    above_transition = factor * directional_variance <= eigenvalue**2
    inside = upper or above_transition or num_leaks > 0
    return "subspace" if num_vectors and inside else "directional"


def chosen(known: Known, predicted: Mapping[str, Predicted]) -> list[str]:
    """Name for each known eigenvalue the prediction to trust, see `choose`.

    Parameters
    ----------
    known
        What the predictions were made from.
    predicted
        All predictions, by name.
    """
    num_vectors, num_leaks = 0, 0
    if known.noise is not None:
        num_vectors = len(known.noise.ritz_values)
        num_leaks = len(known.noise.leak) - num_vectors
    drawn = ~np.isnan(predicted["subspace"].value)
    return [
        choose(
            float(eigenvalue),
            known.factor,
            variance.value,
            num_vectors=num_vectors if made else 0,
            end=known.end,
            num_leaks=num_leaks,
        )
        for eigenvalue, variance, made in zip(known.eigenvalues, known.along, drawn, strict=True)
    ]
