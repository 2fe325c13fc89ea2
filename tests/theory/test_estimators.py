"""Estimators as entries of a registry, fed with what a sample has shown."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from truehessian.pipeline.stage.fingerprint import closure
from truehessian.theory.estimates import ESTIMATORS, guesses
from truehessian.theory.estimates.cross_validation import cross_validate
from truehessian.theory.estimates.inversion import invert
from truehessian.theory.estimates.seen import Seen

SCRIPTS = Path(__file__).parents[2] / "scripts"
N = 128
SEEN = Seen(
    num_examples=32, fitted=24, value=3.4, isotropic=1.5, directional=6.0, fitted_value=3.5,
    crossed=2.8, deviation=1.1, degrees_of_freedom=14, skewness=0.5,
)  # fmt: skip


def samples(rows=4):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        [
            SEEN._replace(value=3.4 + 0.1 * generator.standard_normal())._asdict()
            for _ in range(rows)
        ]
    )
    return frame.assign(
        epoch=5, repetition=range(rows), end="largest", population=N, truth=math.pi, rank=1
    )


def test_every_entry_bears_the_name_of_its_line():
    assert {name: entry.name for name, entry in ESTIMATORS.entries().items()} == {
        name: name for name in ESTIMATORS
    }


def test_every_estimator_guesses_from_the_sample_alone_with_one_interval():
    found = {name: (value, low, high) for name, value, low, high in guesses.guesses(SEEN, N)}
    factor = 1 / 32 - 1 / N
    best = cross_validate(
        3.4, 3.5, 2.8, 1.1, fitted=24, num_examples=32, population=N, degrees_of_freedom=14,
        skewness=0.5,
    )  # fmt: skip
    assert list(found) == list(ESTIMATORS)
    assert found["naive"][0] == 3.4
    assert found["held_out"][0] == 2.8
    assert found["goe"][0] == invert(3.4, 1.5, 1 / factor)
    assert found["directional"][0] == invert(3.4, 6.0, 1 / factor)
    assert found["extrapolated"][0] == pytest.approx(3.4 - 0.1 * factor / (1 / 24 - 1 / 32))
    assert found["cross_validated"] == pytest.approx((best.value, best.low, best.high))
    widths = {round(high - low, 12) for _, low, high in found.values()}
    assert len(widths) == 1


def test_samples_read_back_from_csv_give_the_same_guesses(tmp_path):
    """What is measured is written in full: the estimators get every bit of it."""
    frame = samples()
    frame.to_csv(tmp_path / "seen.csv", index=False)
    again = pd.read_csv(tmp_path / "seen.csv")
    pd.testing.assert_frame_equal(
        guesses.tabulate(again), guesses.tabulate(frame), check_exact=True
    )


def test_what_is_measured_does_not_depend_on_what_is_made_of_it():
    """Another estimator or prediction leaves the keys of the expensive stages alone."""
    reached = {
        script: {name for name in closure(SCRIPTS / f"{script}.py") if ".theory." in name}
        for script in ("measure_self_test", "measure_directions")
    }
    noise, seen = "truehessian.theory.predictions.noise", "truehessian.theory.estimates.seen"
    assert reached == {"measure_self_test": {noise, seen}, "measure_directions": {noise}}


def test_a_further_line_of_the_registry_is_a_further_estimator(monkeypatch):
    path = "extra_entries:HALFWAY_BACK"
    monkeypatch.setitem(ESTIMATORS._entries, "halfway_back", path)
    table = guesses.tabulate(samples())
    assert set(table["estimator"]) == {*ESTIMATORS}
    mine = table[table["estimator"] == "halfway_back"]
    naive = table[table["estimator"] == "naive"]
    np.testing.assert_allclose(mine["estimate"], (naive["estimate"].to_numpy() + 2.8) / 2)
