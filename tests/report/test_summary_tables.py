import math

import numpy as np
import pandas as pd
import pytest
from table_cases import NUM_EXAMPLES, NUM_PARAMETERS, spectra, variance

from truehessian.report.tables import extremes, sampling, summary
from truehessian.theory.predictions import PREDICTIONS

EXTREMAL = extremes.extremal_ritz_values([*spectra(3), *spectra(0)])
VARIANCE = pd.concat([variance(0), variance(3)])


def test_augmented_extremes_stand_beside_those_of_the_data_set():
    frame = summary.augmentation(EXTREMAL, VARIANCE)
    assert list(frame.columns) == list(summary.AUGMENTATION_COLUMNS)
    largest = frame[(frame["epoch"] == 3) & (frame["end"] == "largest")]
    assert largest["factor"].tolist() == [1, 10]
    assert largest["num_examples"].tolist() == [NUM_EXAMPLES, 2000]
    assert largest["value"].tolist() == [4.0, 3.8]
    assert largest["ratio"].tolist() == [1, 3.8 / 4]
    assert largest["ratio_of_noise"].tolist() == [1, 1 / math.sqrt(10)]


def test_prediction_gives_the_empirical_value_back_and_shrinks_with_more_examples():
    """Eq. 18 with V = 2: true 4 = t + V / (200 t); for 2000 images t + V / (2000 t)."""
    frame = summary.augmentation(EXTREMAL, VARIANCE)
    rows = frame[(frame["epoch"] == 0) & (frame["end"] == "largest")]
    true = (4 + math.sqrt(16 - 4 * 2 / 200)) / 2
    assert rows["goe"].tolist() == pytest.approx([4.0, true + 2 / (2000 * true)], rel=1e-12)
    smallest = frame[(frame["epoch"] == 0) & (frame["end"] == "smallest")]
    assert smallest["goe"].iloc[0] == pytest.approx(-1.2)
    assert -1.2 < smallest["goe"].iloc[1] < -1.19


def test_nothing_is_predicted_inside_the_noise_or_without_a_variance():
    loud = VARIANCE.assign(variance=1e6)
    assert summary.augmentation(EXTREMAL, loud)["goe"].isna().all()
    assert summary.augmentation(EXTREMAL)["goe"].isna().all()


def test_predictions_of_batches_stand_beside_the_variance_of_their_epoch():
    outliers = sampling.outliers([*spectra(3), *spectra(0)], VARIANCE, draws=2)
    theory = sampling.theory_vs_empirical(outliers)
    frame = summary.batch_predictions(theory, VARIANCE)
    assert list(frame.columns) == [
        "epoch", "batch_size", "end", "full", "batch_mean", "batch_standard_error", "folds",
        "weyl", "goe", "directional", "subspace", "isotropic_variance",
        "isotropic_standard_error", "element_variance",
        *list(PREDICTIONS)[3:],
    ]  # fmt: skip
    assert len(frame) == len(theory) == 2 * 2 * 2
    np.testing.assert_array_equal(frame["goe"], theory["goe"])
    assert (frame["isotropic_variance"] == 2.0).all()
    assert (frame["element_variance"] == 2.0 / NUM_PARAMETERS).all()


def test_no_batches_give_an_empty_table_of_predictions():
    theory = pd.DataFrame(columns=sampling.theory_columns())
    assert summary.batch_predictions(theory, VARIANCE).empty
