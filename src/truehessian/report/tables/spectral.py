"""Whole spectra of batches, predicted and measured: how far apart they are, in numbers."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from truehessian.report.tables import select
from truehessian.spectra.spectrum import Spectrum
from truehessian.theory.batch_spectra import BATCH_SPECTRA, choice, distance, measured
from truehessian.theory.batch_spectra.base import KnownSpectra
from truehessian.theory.batch_spectra.measured import MeasuredSpectra
from truehessian.theory.predictions.examples import ExampleParts
from truehessian.theory.rmt import DiscreteMeasure

logger = logging.getLogger(__name__)

# Standard deviations of the batches' mean spectrum from zero, beyond which an eigenvalue is an
# outlier. By Chebyshev's inequality a ninth of all may lie there at most.
EDGE = 3.0
# Standard deviations below zero, from which on a sign is none of chance.
CLEARLY = 0.1
COLUMNS = (
    "epoch", "batch_size", "prediction", "wasserstein", "kolmogorov", "mass_below_zero",
    "mass_below_zero_predicted", "second_moment", "second_moment_predicted", "outliers",
    "outliers_predicted", "floor", "mass_below_zero_standard_error",
    "second_moment_standard_error", "outliers_standard_error", "standard_deviation", "edge",
    "folds", "steps", "negative_mass", "negative_mass_predicted", "negative_mass_standard_error",
    "chosen",
)  # fmt: skip


class Case(NamedTuple):
    """Batches of one size at one epoch, measured and predicted.

    Attributes
    ----------
    epoch, batch_size, steps, num_parameters
        Of the batches.
    batches
        As measured.
    predicted
        By the names of predictions; those that need what was not measured are not there.
    """

    epoch: int
    batch_size: int
    steps: int
    num_parameters: int
    batches: MeasuredSpectra
    predicted: dict[str, DiscreteMeasure]


def cases(
    spectra: Iterable[Spectrum],
    variance: pd.DataFrame,
    parts: Mapping[int, ExampleParts] | None = None,
) -> Iterator[Case]:
    """Predict the spectra of all batches that were measured.

    Parameters
    ----------
    spectra
        Of all the data, of batches and of their noise.
    variance
        As in `sampling.outliers`.
    parts
        Of single examples, by epoch.
    """
    spectra = list(spectra)
    full, batches = select.training_spectra(spectra)
    noises = {_key(s): s for s in spectra if s.metadata["operator"] == "noise"}
    smaller: dict[int, dict[int, DiscreteMeasure]] = {}
    for stack in batches:
        epoch, size = _key(stack)
        if epoch not in full:
            continue
        facts, penalty = stack.metadata, float(stack.metadata.get("weight_decay") or 0.0)
        found = measured.of_batches(stack, -penalty)
        noise = noises.get((epoch, size))
        known = KnownSpectra(
            measured.measure_of(full[epoch], -penalty),
            batch_size=size,
            num_examples=int(full[epoch].metadata["num_examples"]),
            num_parameters=int(facts["num_parameters"]),
            isotropic=select.isotropic_variance(select.at_epoch(variance, epoch)),
            noise=None if noise is None else measured.of_batches(noise).mean,
            smaller=dict(smaller.setdefault(epoch, {})),
            parts=(parts or {}).get(epoch),
        )
        smaller[epoch][size] = found.mean
        steps, order = int(facts["steps"]), known.num_parameters
        yield Case(epoch, size, steps, order, found, _predicted(known))


def _key(stack: Spectrum) -> tuple[int, int]:
    return int(stack.metadata["epoch"]), int(stack.metadata["batch_size"])


def _predicted(known: KnownSpectra) -> dict[str, DiscreteMeasure]:
    found = {}
    for name, entry in BATCH_SPECTRA.entries().items():
        try:
            law = entry.predict(known)
        except RuntimeError as error:  # a fixed point that is not found leaves the others
            logger.warning("%s of batches of %d is left out: %s", name, known.batch_size, error)
            continue
        if law is not None:
            found[name] = law
    return found


def spectral_distances(cases: Iterable[Case]) -> pd.DataFrame:
    """Set predicted spectra of batches beside measured ones.

    Returns
    -------
    DataFrame
        One row per epoch, batch size and prediction, with the columns of `COLUMNS`. Distances are
        in units of `standard_deviation`, the batches' own; Wasserstein's is the area between the
        distribution functions, Kolmogorov's their largest difference. `floor` is Wasserstein's
        distance between two halves of the folds. `second_moment` is tr H_B² / P, `outliers` the
        number of eigenvalues farther from zero than `edge`, `negative_mass` the mass a tenth of
        the standard deviation or more below zero; all are means over folds. What is
        measured is what `steps` Lanczos steps see. `chosen` marks the prediction that was to be
        trusted beforehand.
    """
    rows = [row for case in cases for row in _rows(case)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(case: Case) -> Iterator[dict[str, Any]]:
    mean, batches = case.batches.mean, case.batches
    unit = distance.standard_deviation(mean)
    edge = EDGE * unit
    numbers = {
        "mass_below_zero": lambda law: distance.mass_below(law, 0.0),
        "negative_mass": lambda law: distance.mass_below(law, -CLEARLY * unit),
        "second_moment": lambda law: law.moment(2),
        "outliers": lambda law: case.num_parameters * distance.mass_beyond(law, edge),
    }
    common: dict[str, Any] = {
        "epoch": case.epoch,
        "batch_size": case.batch_size,
        "standard_deviation": unit,
        "edge": edge,
        "floor": batches.floor / unit if unit else math.nan,
        "folds": len(batches.folds),
        "steps": case.steps,
    }
    for name, function in numbers.items():
        found = batches.number(function)
        common |= {name: found.value, f"{name}_standard_error": found.standard_error}
    trusted = choice.chosen(case.predicted)
    for prediction, law in case.predicted.items():
        apart = distance.wasserstein(law, mean) / unit if unit else math.nan
        yield common | {
            "prediction": prediction,
            "chosen": prediction == trusted,
            "wasserstein": apart,
            "kolmogorov": distance.kolmogorov(law, mean),
            **{f"{name}_predicted": function(law) for name, function in numbers.items()},
        }
