"""Spectra in which every eigenvalue that a probe has resolved counts as the one that it is.

A probe sees an eigenvector with a weight of chi-squared over P: that of a single outlier is off by
more than itself. Once a Ritz value has converged to a lone eigenvalue, its weight is known to be
1/P. Counts and moments of outliers, which make up most of a second moment, lose their noise.
"""

import numpy as np
from numpy.typing import NDArray

from truehessian.spectra.spectrum import Spectrum

# Residual over the distance of the next Ritz value, below which a value stands for one eigenvalue.
_SHARP = 0.05
# P times the weight that one eigenvalue has: chi-squared of one degree exceeds it in 1 of 16,000.
_MOST = 16.0


def resolved(spectrum: Spectrum) -> Spectrum:
    """Give resolved eigenvalues the weight 1/P, and the others what is left in proportion.

    Parameters
    ----------
    spectrum
        A single spectrum or a stack of folds, from standard normal probes.

    Returns
    -------
    Spectrum
        With other weights, which sum to 1 along the last axis as before.

    Notes
    -----
    A value is resolved if its residual is a twentieth of its distance from the next one at most:
    the Ritz vector is then an eigenvector to 1/400 of its square (Davis & Kahan 1970, SIAM J.
    Numer. Anal. 7(1), 1-46). Several eigenvalues within a residual of each other count as one,
    unless the probe sees sixteen times what it would see of one.
    """
    size = int(spectrum.metadata["num_parameters"])
    weights = spectrum.weights.copy()
    rows = (array.reshape(-1, array.shape[-1]) for array in _of_rows(spectrum, weights))
    for row, values, residuals in zip(*rows, strict=True):
        row[:] = _reweighted(row, values, residuals, size)
    return spectrum._replace(weights=weights)


def sharp(values: NDArray, residuals: NDArray) -> NDArray:
    """Tell which Ritz values, shape (m,) and ascending, stand for one eigenvalue or one cluster."""
    apart = np.diff(values)
    gap = np.minimum(np.append(apart, np.inf), np.append(np.inf, apart))
    return residuals <= _SHARP * gap


def _of_rows(spectrum: Spectrum, weights: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    return weights, spectrum.ritz_values, spectrum.residuals


def _reweighted(weights: NDArray, values: NDArray, residuals: NDArray, size: int) -> NDArray:
    """Weights of one probe, shape (m,); NaN in `values` at weight zero."""
    seen = weights > 0
    places = values[seen]
    if len(places) < 2:
        return weights
    single = sharp(places, residuals[seen]) & (size * weights[seen] <= _MOST)
    left, share = 1 - single.sum() / size, weights[seen][~single].sum()
    if left < 0 or not share > 0:
        return weights
    found = weights.copy()
    found[seen] = np.where(single, 1 / size, weights[seen] * left / share)
    return found
