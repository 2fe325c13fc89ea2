"""What the documentation claims of the default run's predictions and estimates.

Needs the results of `uv run snakemake`, and for the self-test those of
`uv run snakemake --configfile workflow/presets/self-test.yaml`:
`uv run pytest -m slow tests/test_default_claims.py`.
"""

from pathlib import Path

import pandas as pd
import pytest

from truehessian.report.tables import errors

RESULTS = Path(__file__).parents[1] / "results"
RUNS = ("digits-preresnet", "digits-vgg")
ENDS = ("largest", "smallest")

pytestmark = pytest.mark.slow


def table(run, name):
    return pd.read_csv(RESULTS / run / "tables" / f"{name}.csv")


@pytest.fixture(params=RUNS)
def theory(request):
    return table(request.param, "theory_vs_empirical")


@pytest.mark.parametrize("end", ENDS)
def test_the_chosen_prediction_misses_less_than_a_quarter_of_the_shift(theory, end):
    missed = errors.missed(theory[theory["end"] == end])
    assert len(missed) >= 9
    assert missed["subspace"].median() <= 0.3
    assert missed["chosen"].median() <= 0.25
    assert missed["goe"].median() > 0.9


@pytest.mark.parametrize("end", ENDS)
def test_the_predicted_spread_of_batches_is_the_measured_one(theory, end):
    rows = theory[theory["end"] == end]
    ratio = rows["subspace_standard_deviation"] / rows["batch_standard_deviation"]
    assert ratio.between(1 / 1.5, 1.5).mean() >= 0.75


@pytest.mark.parametrize("run", RUNS)
def test_both_ends_have_a_verdict_and_a_bracket_around_the_test_split_at_every_epoch(run):
    frame = table(run, "true_hessian").query("rank == 1")
    assert len(frame) == 12
    assert frame["verdict"].str.contains("z = ").all()
    for end in ENDS:
        rows = frame[frame["end"] == end]
        assert rows["test"].between(rows["bracket_low"], rows["bracket_high"]).sum() >= 5


@pytest.mark.parametrize("run", RUNS)
def test_the_size_of_the_noise_scales_nearly_as_that_of_independent_examples(run):
    """Epochs share their folds, so that the intervals are too narrow by some hundredths."""
    frame = table(run, "noise_scaling").query("epoch == 'all' and quantity == 'frobenius_norm'")
    assert (frame["low"] <= 0.55).all()
    assert (frame["high"] >= 0.45).all()


def test_cross_validation_removes_two_thirds_of_the_bias_and_knows_its_error():
    frame = pd.concat([table(run, "self_test").assign(run=run) for run in RUNS])
    frame = frame[frame["num_examples"] == frame["num_examples"].min()]  # an eighth of the data
    naive = frame[frame["estimator"] == "naive"].set_index(["run", "epoch", "end"])
    better = frame[frame["estimator"] == "cross_validated"].set_index(["run", "epoch", "end"])
    assert (better["repetitions"] >= 20).all()
    assert (better["bias"].abs() / naive["bias"].abs()).median() <= 1 / 3
    assert 0.8 <= better["coverage"].mean() <= 0.97
