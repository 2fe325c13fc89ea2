"""Spectra of batches in one graph: those of each batch by itself, also where a run was killed."""

import functools

import numpy as np
import pytest
from cases import CASES

from truehessian.measurements import fold_spectra, journals, kept, measuring
from truehessian.measurements.source import Source
from truehessian.operators import Hessian
from truehessian.operators.folds import Folds
from truehessian.operators.noise import Noise
from truehessian.operators.stack import Stack
from truehessian.spectra.recurrence import Journal

BATCHES, SIZE, STEPS = 5, 4, 12
CASE = CASES["normalised"]
HOW = {"steps": STEPS, "seed": 3, "purpose": "batch"}
NUMBERS = [[SIZE, number] for number in range(BATCHES)]


@pytest.fixture
def source():
    return Source(CASE.model(), None, {}, None)


def folds_of(source, precision="float64", **settings):
    inputs, targets = CASE.data(BATCHES * SIZE)
    batches = list(zip(inputs.split(SIZE), targets.split(SIZE), strict=True))
    how = {"loss": CASE.loss, "precision": precision, **settings}
    return Folds(Hessian(source.model, (inputs, targets), **how), batches)


def states_of(folder, count=BATCHES):
    return [folder / f"fold-{number}" for number in range(count)]


def assert_same(measured, other, tolerance):
    scale = np.abs(other.ritz_values).max()
    assert np.abs(measured.ritz_values - other.ritz_values).max() <= tolerance * scale


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_ritz_values_are_those_of_each_batch_by_itself(source, tmp_path, precision, tolerance):
    folds = folds_of(source, precision)
    assert len(folds.groups()) == 1
    spectra = fold_spectra.of_folds(
        source, folds, states=states_of(tmp_path), numbers=NUMBERS, **HOW
    )
    for operator, numbers, measured in zip(folds.operators, NUMBERS, spectra, strict=True):
        alone, _ = measuring.measure(operator, numbers=numbers, **HOW)
        assert_same(measured, alone, tolerance)
        facts = dict(measured.metadata)
        assert facts.pop("batches_at_once") == BATCHES
        for key in ("steps", "numbers", "purpose", "operator", "num_examples", "seed"):
            assert facts[key] == alone.metadata[key]


@pytest.mark.parametrize("count", [1, 3])
def test_noise_is_that_of_each_batch_by_itself(source, tmp_path, count):
    folds = folds_of(source)
    inputs, targets = CASE.data(BATCHES * SIZE)
    full = Hessian(source.model, (inputs, targets), loss=CASE.loss, precision="float64")
    spectra = fold_spectra.of_folds(
        source, folds, states=states_of(tmp_path, count), numbers=NUMBERS[:count], full=full, **HOW
    )
    assert len(spectra) == count
    for operator, numbers, measured in zip(folds.operators, NUMBERS, spectra, strict=False):
        alone, _ = measuring.measure(Noise(operator, full), numbers=numbers, **HOW)
        assert_same(measured, alone, 1e-10)
        assert measured.metadata["operator"] == "noise"


def test_a_killed_measurement_goes_on_to_the_same_bits(source, tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "Journal", functools.partial(Journal, interval=0))
    whole = fold_spectra.of_folds(
        source, folds_of(source), states=states_of(tmp_path / "whole"), numbers=NUMBERS, **HOW
    )
    made = Stack.products
    counts = []

    def killed(self, block):
        counts.append(len(block))
        if len(counts) == 7:
            raise KeyboardInterrupt
        return made(self, block)

    monkeypatch.setattr(Stack, "products", killed)
    states = states_of(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        fold_spectra.of_folds(source, folds_of(source), states=states, numbers=NUMBERS, **HOW)
    counts.clear()
    counts += [0] * 7  # not killed again
    again = fold_spectra.of_folds(source, folds_of(source), states=states, numbers=NUMBERS, **HOW)
    assert len(counts) - 7 < STEPS  # what was done is not done again, but for a comparison
    for measured, other in zip(again, whole, strict=True):
        assert np.array_equal(measured.ritz_values, other.ritz_values)
        assert np.array_equal(measured.weights, other.weights)


def test_finished_batches_are_taken_and_others_measured(source, tmp_path):
    states = states_of(tmp_path)
    folds = folds_of(source)
    first = fold_spectra.of_folds(source, folds, states=states, numbers=NUMBERS, **HOW)
    for number in (1, 3):
        states[number].with_suffix(".npz").unlink()
    again = fold_spectra.of_folds(source, folds, states=states, numbers=NUMBERS, **HOW)
    assert not any(own._kept for own in folds.operators)  # nor do comparisons leave graphs behind
    assert [own.metadata["batches_at_once"] for own in again] == [5, 2, 5, 2, 5]
    for measured, other in zip(again, first, strict=True):
        assert_same(measured, other, 1e-12)


def test_what_another_matrix_has_left_is_refused(source, tmp_path):
    states = states_of(tmp_path)
    fold_spectra.of_folds(source, folds_of(source), states=states, numbers=NUMBERS, **HOW)
    other = folds_of(source, parameters=["*weight"])
    with pytest.raises(ValueError, match="another matrix"):
        fold_spectra.of_folds(source, other, states=states, numbers=NUMBERS, **HOW)


def test_bases_that_find_no_room_are_left_for_the_next_group(source, tmp_path):
    folds = folds_of(source)
    each = STEPS * folds.operators[0].num_params * 8
    small = source._replace(basis_memory=2 * each)
    spectra = fold_spectra.of_folds(
        small, folds, states=states_of(tmp_path), numbers=NUMBERS, **HOW
    )
    assert [own.metadata["batches_at_once"] for own in spectra] == [2, 2, 2, 2, 1]


def test_a_spectrum_that_cannot_be_kept_costs_nothing(source, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    spectra = fold_spectra.of_folds(
        source, folds_of(source), states=states_of(tmp_path), numbers=NUMBERS, **HOW
    )
    kept.put(spectra[0], tmp_path / "file" / "fold")
    assert "is not kept for a killed run" in caplog.text


def test_batches_one_by_one_keep_no_graph_for_the_next(source, tmp_path, monkeypatch):
    """Else later batches would find less memory than the first, and make theirs anew each time."""
    folds = folds_of(source)
    folds = Folds.over(folds.operators, small=0)
    held = []
    measure_each = measuring.measure_each

    def counted(operators, *arguments, **how):
        measured = measure_each(operators, *arguments, **how)
        held.append([bool(own._kept) for own in folds.operators])
        return measured

    monkeypatch.setattr(measuring, "measure_each", counted)
    spectra = fold_spectra.of_folds(
        source, folds, states=states_of(tmp_path), numbers=NUMBERS, **HOW
    )
    assert held == [[number == own for own in range(BATCHES)] for number in range(BATCHES)]
    assert all(own.metadata["graph_kept"] for own in spectra)
    assert not any(own._kept for own in folds.operators)


@pytest.mark.parametrize("small", [0, 2**18])
def test_a_batch_that_is_not_finite_is_said_what_is_wrong_with(source, tmp_path, small):
    inputs, targets = CASE.data(BATCHES * SIZE)
    inputs[2 * SIZE + 1] = float("inf")
    batches = list(zip(inputs.split(SIZE), targets.split(SIZE), strict=True))
    operator = Hessian(source.model, batches[0], loss=CASE.loss, precision="float64")
    folds = Folds(operator, batches, small=small)
    assert len(folds.groups()) == (1 if small else BATCHES)
    with pytest.raises(FloatingPointError, match=r"hessian product of chunk 1 .* holds NaN or inf"):
        fold_spectra.of_folds(source, folds, states=states_of(tmp_path), numbers=NUMBERS, **HOW)
