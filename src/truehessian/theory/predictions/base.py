"""What a prediction is: one entry, which tables, figures, captions and findings read.

A new prediction is a module with a `Prediction` and a line of the registry in `__init__`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.spectra.spectrum import ENDS
from truehessian.theory.predictions.examples import ExampleParts
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.predictions.noise import SubspaceNoise

WIDTH = 1.96  # standard errors on either side of a 95 % interval
# What a predicted distribution is summed up by, beside its mean.
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
OF_DRAWS = ("standard_deviation", *QUANTILES)


class Variance(NamedTuple):
    """P σ² or V(u), with its standard error."""

    value: float
    standard_error: float

    def interval(self) -> tuple[float, float]:
        """95 % interval, not below zero."""
        half = WIDTH * self.standard_error
        return max(self.value - half, 0.0), self.value + half


class Draws(NamedTuple):
    """How predictions that draw batches do so.

    Attributes
    ----------
    ranks
        How many eigenvalues of an end are asked for, at least as many as there are.
    draws, seed, resamples
        Random batches, their seed, and bootstrap samples for the standard errors.
    """

    ranks: int = 1
    draws: int = 400
    seed: int = 0
    resamples: int = 0


class MeasuredBatches(NamedTuple):
    """What was measured of the batches of one size.

    Attributes
    ----------
    batch_size
        Examples in each.
    values
        Outermost eigenvalues of an end, the extreme first, shape (folds, R); NaN where fewer were
        found.
    passes
        Products that it took, in units of products with all the data.
    """

    batch_size: int
    values: NDArray
    passes: float


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one end of a spectrum before batches of one size are measured.

    Attributes
    ----------
    eigenvalues
        Of the full Hessian, the extreme first and then inwards, shape (R,).
    end
        "largest" or "smallest".
    batch_size, num_examples, num_parameters
        B, N and P.
    isotropic
        P σ², the mean of V(u) over random unit vectors u; NaN if not measured.
    along
        V(u) along the Ritz vector of each eigenvalue, R of them; NaN where it was not measured.
    noise
        Groups of examples seen from the Ritz vectors; None if not measured.
    how
        How batches are drawn.
    random_directions
        How many of them `isotropic` is the mean over.
    adaptive
        The same as `noise`, within as many vectors as a share of the noise asks for.
    measured
        Batches of *other* sizes than `batch_size`, ascending.
    parts
        Parts of single examples; None if not measured.
    """

    eigenvalues: NDArray
    end: str
    batch_size: int
    num_examples: int
    num_parameters: int
    isotropic: Variance
    along: Sequence[Variance]
    noise: SubspaceNoise | None
    how: Draws
    random_directions: int = 0
    adaptive: SubspaceNoise | None = None
    measured: Sequence[MeasuredBatches] = ()
    parts: ExampleParts | None = None

    @property
    def factor(self) -> float:
        """Finite-population factor f of the batch."""
        return finite_population_factor(self.batch_size, self.num_examples)


class Predicted(NamedTuple):
    """Predicted eigenvalues of a batch, one for each that is known of the full Hessian.

    Attributes
    ----------
    value
        Mean over batches, shape (R,); NaN where there is no prediction.
    low, high
        95 % interval of that mean, shape (R,).
    further
        What else is predicted, by the names in `Prediction.further`, shape (R,) each.
    """

    value: NDArray
    low: NDArray
    high: NDArray
    further: Mapping[str, NDArray] = {}

    @classmethod
    def of_draws(
        cls, values: NDArray, means: NDArray, standard_errors: NDArray, count: int
    ) -> "Predicted":
        """Sum up drawn batches; what is further predicted is `OF_DRAWS`.

        Parameters
        ----------
        values
            Eigenvalues of each batch, shape (draws, ranks).
        means, standard_errors
            Of each rank over all batches, shape (ranks,).
        count
            R; NaN beyond the ranks that were drawn.
        """
        rows = np.full((count, 3 + len(OF_DRAWS)), math.nan)
        for rank in range(min(count, values.shape[1])):
            own, mean, half = values[:, rank], means[rank], WIDTH * standard_errors[rank]
            quantiles = [np.quantile(own, level) for level in QUANTILES.values()]
            rows[rank] = (mean, mean - half, mean + half, own.std(ddof=1), *quantiles)
        value, low, high, *further = rows.T
        return cls(value, low, high, dict(zip(OF_DRAWS, further, strict=True)))

    @classmethod
    def missing(cls, count: int, further: Sequence[str] = ()) -> "Predicted":
        """No prediction for any of `count` eigenvalues."""
        nothing = np.full(count, math.nan)
        return cls(nothing, nothing, nothing, dict.fromkeys(further, nothing))


@dataclass(frozen=True)
class Prediction:
    """One way to predict the outer eigenvalues of a batch from what is known of all the data.

    Attributes
    ----------
    name
        As in the registry; the name of its column in tables.
    label
        In legends and sentences.
    marker, colour
        Of matplotlib; the colour may be one of `report.plots.style.COLOURS`.
    assumption
        What it takes the noise for, for captions: goes on after the label.
    predict
        Makes the prediction.
    overlap
        Predicts the mean squared component of the batch's *extreme* eigenvector along each Ritz
        vector of the full Hessian, shape (R,), NaN where it cannot; None if it never can.
    overlap_rule
        How it does so, for captions: goes on after the label and a colon.
    further
        Names of what else it predicts; those of `QUANTILES` make a box in figures.
    passes
        What it takes beside the full spectrum: products with all the data, for both ends, and
        others by their share of it. One number, or one for each eigenvalue as far in as it,
        shape (R,); NaN where it has not what it needs. None if nobody counts.
    doubt
        How far it is expected to miss by what it assumes, as a share of the shift, before any batch
        of this size is measured, shape (R,); NaN where that cannot be told. What its interval holds
        comes on top, see `choice`. None if it says nothing, and then it is never chosen.
    """

    name: str
    label: str
    marker: str
    colour: str
    assumption: str
    predict: Callable[[Known], Predicted]
    overlap: Callable[[Known], NDArray] | None = None
    overlap_rule: str = ""
    further: tuple[str, ...] = ()
    passes: Callable[[Known], ArrayLike] | None = None
    doubt: Callable[[Known], NDArray] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns in tables of outliers."""
        further = (f"{self.name}_{name}" for name in ("low", "high", *self.further))
        overlap = () if self.overlap is None else (f"overlap_{self.name}",)
        passes = () if self.passes is None else (f"{self.name}_passes",)
        doubt = () if self.doubt is None else (f"{self.name}_expected_error",)
        return (self.name, *further, *overlap, *passes, *doubt)


def sign_of(end: str) -> int:
    """1 for the largest end, -1 for the smallest; ValueError for anything else."""
    if end not in ENDS:
        raise ValueError(f"end must be one of {ENDS}, got {end!r}")
    return 1 if end == "largest" else -1
