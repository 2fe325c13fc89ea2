"""How often intervals of predictions hold the mean of batches, where that is known."""

import numpy as np
import pandas as pd
import pytest

from truehessian.report.tables import intervals


def rows(count, claimed, true=0.3, error=0.2, seed=0):
    """Predictions and measurements of means around 5 that err as `true` and `error` say."""
    generator = np.random.default_rng(seed)
    predicted = 5 + true * generator.standard_normal(count)
    return pd.DataFrame(
        {
            "end": "largest",
            "batch_size": np.where(np.arange(count) % 2, 16, 64),
            "full": 3.0,
            "batch_mean": 5 + error * generator.standard_normal(count),
            "batch_standard_error": error,
            "mine": predicted,
            "mine_low": predicted - 1.96 * claimed,
            "mine_high": predicted + 1.96 * claimed,
        }
    )


def overall(frame):
    table = intervals.prediction_coverage(frame, ["mine"])
    assert list(table.columns) == list(intervals.COVERAGE_COLUMNS)
    return table[(table["end"] == "all") & (table["batch_size"] == "all")].iloc[0]


def test_intervals_that_are_right_cover_as_they_say():
    found = overall(rows(4000, claimed=0.3))
    assert found["cases"] == 4000
    assert found["coverage"] == pytest.approx(0.95, abs=0.015)
    assert found["coverage_low"] < 0.95 < found["coverage_high"]
    assert found["widening"] == pytest.approx(1, abs=0.1)
    assert found["coverage_alone"] == pytest.approx(found["coverage_alone_expected"], abs=0.02)
    assert found["coverage_alone"] < 0.93
    assert found["half_width"] == pytest.approx(1.96 * 0.3 / 2, rel=0.03)


def test_intervals_that_are_half_as_wide_as_they_should_be_are_found_out():
    found = overall(rows(4000, claimed=0.15))
    assert found["coverage_high"] < 0.85
    assert found["widening"] == pytest.approx(2, abs=0.2)


def test_each_side_is_measured_by_the_bound_on_its_side():
    frame = rows(2, claimed=1.0).assign(
        mine=[4.0, 6.0], mine_low=[4.0, 4.5], mine_high=[5.5, 6.0], batch_mean=5.0
    )
    assert overall(frame)["coverage_alone"] == 1
    swapped = frame.assign(mine_low=[2.5, 6.0], mine_high=[4.0, 7.5])
    assert overall(swapped)["coverage_alone"] == 0


def test_rows_are_counted_by_end_and_size_and_incomplete_ones_are_left_out():
    frame = pd.concat([rows(6, 0.3), rows(4, 0.3).assign(end="smallest")], ignore_index=True)
    frame.loc[0, "mine_low"] = np.nan
    frame["other"] = 1.0  # no interval
    table = intervals.prediction_coverage(frame, ["mine", "other"])
    counts = table.set_index(["end", "batch_size"])["cases"].to_dict()
    assert counts == {
        ("largest", 16): 3, ("largest", 64): 2, ("largest", "all"): 5, ("smallest", 16): 2,
        ("smallest", 64): 2, ("smallest", "all"): 4, ("all", 16): 5, ("all", 64): 4,
        ("all", "all"): 9,
    }  # fmt: skip
