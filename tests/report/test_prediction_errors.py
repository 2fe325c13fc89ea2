"""How far predictions miss the shift, and what they take."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from table_cases import spectra, variance

from truehessian import report
from truehessian.report import captions, page
from truehessian.report.contents import CONTENTS
from truehessian.report.tables import errors, sampling

TEMPLATES = Path(__file__).parents[2] / "workflow/report"
SHIFTS = np.array([1.0, 2.0, 4.0, 0.01])
MISSED = np.array([0.5, 0.1, 0.2, 50.0])


@pytest.fixture
def theory():
    """Four cases of the largest end, the last of which is within its standard error."""
    mean = 3 + SHIFTS
    return pd.DataFrame(
        {
            "epoch": range(4),
            "batch_size": 16,
            "end": "largest",
            "full": 3.0,
            "batch_mean": mean,
            "batch_standard_error": 0.1,
            "goe": mean - MISSED * SHIFTS,
            "goe_low": mean - 2 * MISSED * SHIFTS,
            "goe_high": mean - MISSED * SHIFTS + 0.1,
            "goe_passes": 3.0,
            "goe_expected_error": [0.2, 0.2, 0.3, 0.2],
            "directional": [np.nan, 5.0, np.nan, np.nan],
            "directional_low": [np.nan, 4.9, np.nan, np.nan],
            "directional_high": [np.nan, 5.1, np.nan, np.nan],
            "directional_passes": [np.nan, 2.0, np.nan, np.nan],
            "chosen": ["goe", "directional", "goe", "goe"],
        }
    )


def test_median_nine_in_ten_and_worst_are_those_of_the_cases_with_a_shift(theory):
    frame = errors.prediction_errors(theory)
    assert tuple(frame.columns) == errors.COLUMNS
    rows = frame.set_index("prediction")
    goe = rows.loc["goe"]
    assert goe["cases"] == 3
    assert goe["missed_median"] == pytest.approx(0.2)
    assert goe["missed_nine_in_ten"] == pytest.approx(np.quantile([0.5, 0.1, 0.2], 0.9))
    assert goe["missed_worst"] == pytest.approx(0.5)
    assert goe["measurement_error"] == pytest.approx(0.1 / 2)
    assert goe["passes"] == 3
    assert rows.loc["directional", "cases"] == 1
    assert rows.loc["directional", "missed_worst"] == pytest.approx(0)
    assert rows.loc["chosen", "missed_median"] == pytest.approx(0.2)
    assert rows.loc["chosen", "passes"] == 3
    assert set(frame["end"]) == {"largest"}  # of the other end there is nothing
    assert "subspace" not in rows.index


def test_within_counts_differences_that_both_intervals_allow(theory):
    """The predicted intervals reach 0.1 towards the measured mean, which has 1.96 * 0.1 itself."""
    rows = errors.prediction_errors(theory).set_index("prediction")
    distances = np.array([0.5, 0.2, 0.8])
    expected = np.mean(distances <= np.hypot(0.1, 0.196))
    assert rows.loc["goe", "within"] == pytest.approx(expected)
    above = theory.assign(goe=2 * theory["batch_mean"] - theory["goe"])
    above = above.assign(goe_high=above["goe"] + 1e-9, goe_low=above["goe"] - 0.7)
    rows = errors.prediction_errors(above).set_index("prediction")
    assert rows.loc["goe", "within"] == pytest.approx(np.mean(distances <= np.hypot(0.7, 0.196)))


def test_surprises_are_misses_beyond_twice_what_was_stated_and_measured(theory):
    """It misses 0.5, 0.1 and 0.2 and said 0.2, 0.2 and 0.3; the first of them is a surprise."""
    rows = errors.prediction_errors(theory).set_index("prediction")
    assert rows.loc["goe", "expected_median"] == pytest.approx(0.2)
    assert rows.loc["goe", "surprises"] == pytest.approx(1 / 3)
    vague = theory.assign(batch_standard_error=[0.2, 0.1, 0.1, 0.1])  # 0.5 < 2 hypot(0.2, 0.2)
    rows = errors.prediction_errors(vague).set_index("prediction")
    assert rows.loc["goe", "surprises"] == 0
    assert np.isnan(rows.loc["directional", ["expected_median", "surprises"]].astype(float)).all()


def test_nothing_measured_gives_an_empty_table_with_its_columns():
    empty = sampling.theory_vs_empirical(sampling.outliers([], variance()))
    assert list(errors.prediction_errors(empty).columns) == list(errors.COLUMNS)


def test_the_entry_makes_it_of_the_table_of_extremes_and_says_what_columns_mean(tmp_path):
    theory = sampling.theory_vs_empirical(sampling.outliers(spectra(), variance()))
    theory.to_csv(tmp_path / "theory_vs_empirical.csv", index=False)
    content = CONTENTS.load("prediction_errors")
    made = content.make({"theory": [str(tmp_path / "theory_vs_empirical.csv")]})
    pd.testing.assert_frame_equal(made.data, errors.prediction_errors(theory))
    assert made.figure is None
    engine = page.environment(TEMPLATES)
    caption = captions.of_table(engine, report.RunReport("mine", {}, {}, {}), "prediction_errors")
    for column in ("cases", "within", "measurement error", "passes"):
        assert f"<code>{column}</code>" in caption
