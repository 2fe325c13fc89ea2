"""How far the eigenvectors of a batch turn away from those of all the data."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from truehessian.spectra import lanczos
from truehessian.spectra.lanczos import Tridiagonalisation
from truehessian.spectra.spectrum import ENDS

COLUMNS = ("batch_size", "fold", "end", "direction", "squared_overlap")


def of_extremes(run: Tridiagonalisation, directions: Tensor) -> list[list[float]]:
    """Project a run's extreme Ritz vectors on given directions.

    Parameters
    ----------
    run
        A finished tridiagonalisation.
    directions
        Orthonormal vectors as rows, shape (K, P).

    Returns
    -------
    list of list of float
        Squares of the inner products, one row of length K per end, in the order of `ENDS`.
    """
    vectors = lanczos.ritz_vectors(run, [run.num_steps - 1, 0])
    squared: list[list[float]] = ((vectors @ directions.to(vectors).T) ** 2).tolist()
    return squared


def records(
    squared: Sequence[Sequence[float]], names: Sequence[str], **origin: Any
) -> list[dict[str, Any]]:
    """Name what `of_extremes` has found.

    Parameters
    ----------
    squared
        Squared overlaps, one row per end.
    names
        What the directions are called.
    **origin
        Columns to put in every record, such as the batch size and the fold.

    Returns
    -------
    list of dict
        One per end and direction.
    """
    return [
        {**origin, "end": end, "direction": name, "squared_overlap": value}
        for end, row in zip(ENDS, squared, strict=True)
        for name, value in zip(names, row, strict=True)
    ]


def table(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Put `records` with a batch size and a fold in a table, `COLUMNS`."""
    return pd.DataFrame(records, columns=list(COLUMNS))
