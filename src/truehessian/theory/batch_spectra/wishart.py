"""Noise in proportion to the curvature: the full spectrum times that of a sample covariance."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from truehessian.theory.batch_spectra.atoms import atoms_of
from truehessian.theory.batch_spectra.base import KnownSpectra, SpectralPrediction
from truehessian.theory.rmt import DiscreteMeasure
from truehessian.theory.rmt.fixed_point import solve_fixed_point

_OFFSET = 1e-4  # from the real axis, in standard deviations, for distribution functions


@dataclass(frozen=True, eq=False)
class SampleCovariance:
    """Law of W^(1/2) H W^(1/2), with W the sample covariance of white noise and H of known law.

    Of vectors with covariance H, where that is positive semidefinite, this is the law of their
    sample covariance. H may have eigenvalues of both signs.

    Parameters
    ----------
    population
        Law of H.
    ratio
        Order of the matrix over the number of samples, P/n.
    offset
        Distance from the real axis for `cdf`, in units of the eigenvalues.

    Notes
    -----
    With w = 1/g of the companion law (1 - ratio) δ_0 + ratio · law,

        z = w + ratio ∫ λ w / (w - λ) dμ(λ).

    References
    ----------
    Silverstein & Bai (1995), Journal of Multivariate Analysis 54(2), 175-192.
    """

    population: DiscreteMeasure
    ratio: float
    offset: float

    def cdf(self, x: ArrayLike) -> NDArray:
        """Mass at or below `x`, atom included, same shape, float64."""
        x = np.asarray(x, dtype=np.float64)
        z = x.ravel() + 1j * self.offset
        squares, mean = self.population.nodes**2, self.population.moment(1)

        def step(w: NDArray, z: NDArray) -> tuple[NDArray, NDArray]:
            noise = self.population.integrate(lambda apart: 1 / apart, w, squares)
            slope = self.population.integrate(lambda apart: apart**-2.0, w, squares)
            return z - self.ratio * (mean + noise), self.ratio * slope

        width = (1 + math.sqrt(self.ratio)) ** 2 * float(np.abs(self.population.edges).max())
        w = solve_fixed_point(step, z, width or 1.0)
        inner = self.population.integrate(lambda apart: 1 / apart, w, self.population.nodes)
        potential = np.log(w) - self.ratio * (np.log(w) - self.population.log_potential(w) - inner)
        companion = 1 - potential.imag / math.pi
        mass = (companion - (1 - self.ratio) * (x.ravel() >= 0)) / self.ratio
        return np.clip(mass, 0, 1).reshape(x.shape)


def _predict(known: KnownSpectra) -> DiscreteMeasure | None:
    """Take the number of samples that gives the noise its measured second moment f P σ².

    Where that is less than one, as with a mean eigenvalue near zero, there is no prediction.
    """
    square, mean = known.noise_variance, known.full.moment(1)
    if not square > 0 or square > known.num_parameters * mean**2:
        return None
    law = known.full
    ratio = square / mean**2
    most = (1 + math.sqrt(ratio)) ** 2  # the largest eigenvalue of the covariance of white noise
    low, high = (min(0.0, law.edges[0]) * most, max(0.0, law.edges[1]) * most)
    covariance = SampleCovariance(law, ratio, _OFFSET * math.sqrt(law.moment(2) + square))
    return atoms_of(covariance.cdf, low, high)


WISHART = SpectralPrediction(
    name="wishart",
    label="sample covariance",
    colour="tab:brown",
    dashes="--",
    assumption="takes the noise to be in proportion to the curvature, as that of a sample "
    "covariance of as many vectors as give its second moment",
    predict=_predict,
)
