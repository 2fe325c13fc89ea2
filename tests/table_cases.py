"""Spectra and variances with known values, for the tests of tables."""

import numpy as np
import pandas as pd

from truehessian.spectra.spectrum import Spectrum

NUM_EXAMPLES, NUM_PARAMETERS = 200, 50


def make_spectrum(ritz_values, **metadata):
    """Ritz values of shape (probes, m), or (folds, probes, m); residuals are a tenth of them."""
    values = np.sort(np.array(ritz_values, dtype=float))
    common = {"operator": "hessian", "split": "train", "epoch": 0, "num_examples": NUM_EXAMPLES}
    return Spectrum(
        values,
        np.full_like(values, 1 / values.shape[-1]),
        np.abs(values) / 10,
        np.zeros_like(values),
        np.zeros_like(values[..., 1:]),
        common | {"batch_size": None, "factor": None, "steps": values.shape[-1]} | metadata,
    )


def spectra(epoch=0):
    generator = np.random.default_rng(epoch)
    yield make_spectrum([[-1.0, 0.2, 4.0], [-1.2, 0.1, 3.9]], epoch=epoch)
    for batch_size in (40, 10):
        scatter = generator.standard_normal((5, 1, 3)) / batch_size
        folds = np.array([-1.2 - 4 / batch_size, 0.0, 4 + 30 / batch_size]) + scatter
        yield make_spectrum(folds, epoch=epoch, num_examples=batch_size, batch_size=batch_size)
    yield make_spectrum([[-1.1, 0.1, 3.8]], epoch=epoch, num_examples=2000, factor=10)
    yield make_spectrum([[-9.0, 0.1, 9.0]], epoch=epoch, split="test", num_examples=77)
    yield make_spectrum([[[-9.0, 9.0]]] * 2, epoch=epoch, operator="noise", batch_size=10)
    yield make_spectrum([[0.0, 9.0]], epoch=epoch, operator="ggn")


def variance(epoch=0):
    frame = pd.DataFrame(
        {
            "direction": ["random-1", "random-2", "top-1", "top-2", "bottom-1", "bottom-2"],
            "variance": [1.0, 3.0, 60.0, 30.0, 10.0, 9.0],
        }
    )
    frame["standard_error"] = 0.1 * frame["variance"]
    frame["element_variance"] = frame["variance"] / NUM_PARAMETERS
    return frame.assign(
        epoch=epoch, group_size=5, num_examples=NUM_EXAMPLES, num_parameters=NUM_PARAMETERS
    )
