"""Scripts with the penalty on the weights in the matrix: spectra move, and noise does not."""

import numpy as np
import pandas as pd
import pytest
import yaml
from test_costs import SMALL, inputs as inputs
from test_scripts import PRODUCTS, ROOT, call

from truehessian.pipeline.config import checks
from truehessian.spectra import spectrum
from truehessian.theory.predictions import noise

DECAY = 0.5


@pytest.fixture(scope="module")
def run():
    """The reduced run, whose matrices have the weight decay of training."""
    settings = yaml.safe_load((ROOT / "tests/reduced.yaml").read_text())
    training = {**settings["runs"]["reduced"].get("training", {}), "weight_decay": DECAY}
    settings["runs"]["reduced"].update(SMALL, training=training, weight_decay="include")
    return checks.check(settings).runs["reduced"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory, run, inputs):
    """Folders of all measurements without the penalty, and with it."""
    return [
        measure(tmp_path_factory.mktemp("measured"), run, inputs, own)
        for own in ({"weight_decay": 0.0}, {})
    ]


def measure(folder, run, inputs, own):
    def settings(section):
        return {**run.settings(section), **PRODUCTS, "precision": "float64", **own}

    how = {"network": None, "epoch": 0}
    vectors = str(folder / "full.vectors.safetensors")
    names = ("spectrum", "ggn", "test", "evaluation")
    outputs = {f"{name}_out": str(folder / f"{name}.npz") for name in names}
    call(
        "measure_full_spectra", *inputs, vectors_out=vectors, **outputs,
        settings=settings("spectrum"), **how,
    )  # fmt: skip
    sizes = sorted(run.batch.sizes)
    call(
        "measure_batch_spectra", *inputs, vectors, overlaps_out=str(folder / "overlaps.csv"),
        batch_out=[str(folder / f"batch-{size}.npz") for size in sizes],
        noise_out=[str(folder / f"noise-{size}.npz") for size in sizes],
        settings=settings("batch"), **how,
    )  # fmt: skip
    call(
        "measure_directions", *inputs, vectors, variance_out=str(folder / "variance.csv"),
        subspace_out=str(folder / "subspace.npz"), held_out_out=str(folder / "held_out.csv"),
        settings=settings("variance"), network=None,
    )  # fmt: skip
    call(
        "measure_self_test", *inputs, self_test_out=str(folder / "self_test.csv"),
        settings={**settings("self_test"), "tolerance": run.self_test.tolerance}, network=None,
    )  # fmt: skip
    for kind in ("ggn", "empirical_fisher"):
        called = {**run.operator_settings("fisher"), **PRODUCTS, "precision": "float64", **own}
        call(
            "measure_operator_spectrum", *inputs, spectrum_out=str(folder / f"own-{kind}.npz"),
            settings={**called, "operator": kind}, **how,
        )  # fmt: skip
    return folder


@pytest.mark.parametrize("name", ["spectrum", "ggn", "test", "batch-16", "own-ggn"])
def test_spectra_move_by_it_and_say_so(measured, name):
    before, after = (spectrum.load(folder / f"{name}.npz") for folder in measured)
    np.testing.assert_allclose(after.ritz_values, before.ritz_values + DECAY, rtol=0, atol=1e-9)
    np.testing.assert_allclose(after.weights, before.weights, rtol=0, atol=1e-9)
    assert (before.metadata["weight_decay"], after.metadata["weight_decay"]) == (0, DECAY)


@pytest.mark.parametrize("name", ["noise-16", "own-empirical_fisher"])
def test_noise_and_matrices_of_gradients_have_no_part_of_it(measured, name):
    before, after = (spectrum.load(folder / f"{name}.npz") for folder in measured)
    np.testing.assert_allclose(after.ritz_values, before.ritz_values, rtol=0, atol=1e-9)
    assert before.metadata["weight_decay"] == after.metadata["weight_decay"] == 0


def test_variances_and_the_noise_of_subspaces_are_those_of_the_loss(measured):
    before, after = (pd.read_csv(folder / "variance.csv") for folder in measured)
    pd.testing.assert_frame_equal(after, before, rtol=1e-6)
    before, after = (noise.load(folder / "subspace.npz") for folder in measured)
    for name in ("ritz_values", "leak", "hessian"):
        expected, found = getattr(before, name), getattr(after, name)
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-4, atol=1e-7)


def test_quotients_and_brackets_are_those_of_the_loss_with_it(measured):
    before, after = (pd.read_csv(folder / "held_out.csv") for folder in measured)
    moved = ["empirical", "held_out", "bracket_low", "bracket_high", "fitted_value", "crossed"]
    expected = before.assign(**{name: before[name] + DECAY for name in moved})
    pd.testing.assert_frame_equal(after, expected, rtol=1e-6)


def test_the_self_test_is_that_of_the_loss(measured):
    before, after = (pd.read_csv(folder / "self_test.csv") for folder in measured)
    pd.testing.assert_frame_equal(after, before)
