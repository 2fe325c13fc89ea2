"""What a prediction of a whole spectrum is: one entry, which tables, figures and captions read.

A new prediction is a module with a `SpectralPrediction` and a line of the registry in `__init__`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from truehessian.theory.predictions.base import Variance
from truehessian.theory.predictions.examples import ExampleParts
from truehessian.theory.predictions.factor import finite_population_factor
from truehessian.theory.rmt import DiscreteMeasure


@dataclass(frozen=True, eq=False)
class KnownSpectra:
    """What is known before the spectra of batches of one size are measured.

    Attributes
    ----------
    full
        Spectrum of the Hessian of all the data.
    batch_size, num_examples, num_parameters
        B, N and P.
    isotropic
        P σ², the mean of V(u) over random unit vectors u; NaN if not measured.
    noise
        Spectrum of H_B - H of batches of this size; None if not measured.
    smaller
        Measured spectra of smaller batches by their sizes.
    parts
        Of the Hessians of single examples; None if not measured.
    """

    full: DiscreteMeasure
    batch_size: int
    num_examples: int
    num_parameters: int
    isotropic: Variance
    noise: DiscreteMeasure | None = None
    smaller: Mapping[int, DiscreteMeasure] = field(default_factory=dict)
    parts: ExampleParts | None = None

    @property
    def factor(self) -> float:
        """Finite-population factor f of the batch."""
        return finite_population_factor(self.batch_size, self.num_examples)

    @property
    def noise_variance(self) -> float:
        """Second moment of the noise, E tr E² / P = f P σ²."""
        return self.factor * self.isotropic.value


@dataclass(frozen=True)
class SpectralPrediction:
    """One way to predict the mean spectrum of batches.

    Attributes
    ----------
    name
        As in the registry.
    label
        In legends and sentences.
    colour
        Of matplotlib, or one of `report.plots.style.COLOURS`.
    dashes
        Line style of matplotlib.
    assumption
        What it takes the noise for, for captions: goes on after the label.
    predict
        Gives the spectrum, or None where what it needs was not measured.
    """

    name: str
    label: str
    colour: str
    dashes: str
    assumption: str
    predict: Callable[[KnownSpectra], DiscreteMeasure | None]
