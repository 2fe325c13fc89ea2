"""One measurement: folds, stacks, rows after an exhausted Krylov space, files of Ritz vectors."""

import functools
import json
import logging

import cases
import numpy as np
import pytest
import torch
from cases import Convolutional
from dense import Dense
from sequences import InnerGradient

from truehessian import tensorfile
from truehessian.data import examples
from truehessian.measurements import journals, source as measurement
from truehessian.operators import Hessian
from truehessian.spectra import lanczos, spectrum, vectors as extremal_vectors
from truehessian.spectra.recurrence import Journal
from truehessian.spectra.spectrum import Spectrum


def symmetric(values, seed=0) -> torch.Tensor:
    """A matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(square).Q
    return basis @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ basis.T


VALUES = np.array([-3.0, -1.0, 0.5, 0.75, 2.0, 7.0])


@pytest.fixture
def operator():
    return Dense(symmetric(VALUES))


def test_all_steps_find_the_eigenvalues_for_every_probe(operator):
    measured, runs = measurement.measure(operator, steps=6, probes=2, seed=1)
    assert measured.ritz_values.shape == (2, 6)
    assert measured.ritz_values == pytest.approx(np.stack([VALUES, VALUES]), abs=1e-10)
    assert measured.weights.sum(-1) == pytest.approx(1)
    assert measured.off_diagonal.shape == (2, 5)
    assert len(runs) == 2
    assert not np.allclose(measured.weights[0], measured.weights[1])  # other probes


def test_probes_share_products_and_keep_a_state_each(operator, tmp_path, monkeypatch):
    """With 3 probes of 4 steps there are 4 products with 3 vectors, and 3 folders of state."""
    monkeypatch.setattr(journals, "Journal", functools.partial(Journal, interval=0))
    sizes = []
    matmat = operator.matmat
    monkeypatch.setattr(operator, "matmat", lambda block: sizes.append(len(block)) or matmat(block))
    first, _ = measurement.measure(operator, steps=4, probes=3, seed=1, state=tmp_path)
    assert sizes == [3] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["probe-0", "probe-1", "probe-2"]
    again, _ = measurement.measure(operator, steps=4, probes=3, seed=1, state=tmp_path)
    assert sizes == [3] * 5  # a product to see that the matrix is the same, and nothing was left
    assert (again.ritz_values == first.ritz_values).all()


@pytest.mark.parametrize(("memory", "place"), [(None, "cpu"), (0, "disk")])
def test_metadata_say_where_the_basis_lay(operator, tmp_path, memory, place):
    how = {"steps": 4, "seed": 1, "basis_memory": memory, "scratch": tmp_path}
    measured, _ = measurement.measure(operator, **how)
    assert measured.metadata["basis_device"] == place


def test_the_weights_are_the_squared_components_of_the_probe(operator):
    measured, _ = measurement.measure(operator, steps=6, seed=1)
    vectors = torch.linalg.eigh(operator.matrix).eigenvectors
    probe = lanczos.probe_vector(6, 1, 0)
    expected = (vectors.T @ probe) ** 2 / probe.dot(probe)
    assert measured.weights[0] == pytest.approx(expected.numpy(), abs=1e-10)


def test_metadata_say_what_was_measured_and_survive_the_file(operator, tmp_path):
    measured, _ = measurement.measure(operator, steps=3, seed=1, epoch=4, split="train")
    expected = {"operator": "dense", "num_parameters": 6, "steps": 3, "probes": 1, "seed": 1}
    assert measured.metadata | expected | {"epoch": 4, "split": "train"} == measured.metadata
    assert measured.metadata["orthogonality"] < 1e-12
    assert json.loads(json.dumps(measured.metadata)) == measured.metadata
    spectrum.save(tmp_path / "spectrum.npz", measured)
    assert spectrum.load(tmp_path / "spectrum.npz").metadata == measured.metadata


def lengths(operator) -> Spectrum:
    """Probes of which some stop before others."""
    measured, runs = measurement.measure(
        operator, steps=40, probes=5, seed=1, tolerance=1e-4, ends=["largest"]
    )
    assert measured.metadata["steps_done"] == [run.num_steps for run in runs]
    assert len(set(measured.metadata["steps_done"])) > 1
    return measured


@pytest.fixture
def large():
    bulk = np.random.default_rng(0).uniform(-1, 1, 58)
    return Dense(symmetric([-1.1, *bulk, 1.1]))


def test_rows_of_shorter_recurrences_hold_nothing_that_looks_like_a_value(large):
    measured = lengths(large)
    done = np.array(measured.metadata["steps_done"])
    real = np.arange(done.max()) < done[:, None]
    assert measured.metadata["steps"] == measured.ritz_values.shape[1] == done.max()
    for array in (measured.ritz_values, measured.residuals, measured.diagonal):
        np.testing.assert_array_equal(np.isfinite(array), real)
    assert (measured.weights[~real] == 0).all()
    assert measured.weights.sum(-1) == pytest.approx(1)
    np.testing.assert_array_equal(np.isfinite(measured.off_diagonal), real[:, 1:])


def test_the_precision_of_the_products_stands_in_the_metadata_of_every_probe(large):
    measured, runs = measurement.measure(large, steps=12, probes=2, seed=1)
    assert measured.metadata["product_error"] == [run.product_error for run in runs]
    assert (measured.residuals >= spectrum.product_errors(measured)[:, None]).all()
    stack = measurement.stack_folds([measured, measured], np.zeros((2, 3), dtype=np.int64))
    assert spectrum.product_errors(stack).shape == (2, 2)
    assert json.loads(json.dumps(measured.metadata)) == measured.metadata


def test_folds_are_stacked_along_a_leading_axis(operator):
    folds = [
        measurement.measure(operator, steps=4, probes=2, seed=seed, batch_size=3)[0]
        for seed in range(3)
    ]
    indices = measurement.draw_folds(10, 3, 3, seed=0)
    stacked = measurement.stack_folds(folds, indices)
    assert stacked.ritz_values.shape == stacked.weights.shape == (3, 2, 4)
    assert stacked.off_diagonal.shape == (3, 2, 3)
    assert (stacked.indices == indices).all()
    for number, fold in enumerate(folds):
        assert (stacked.ritz_values[number] == fold.ritz_values).all()
        assert (stacked.residuals[number] == fold.residuals).all()
    assert stacked.metadata["batch_size"] == 3
    assert stacked.metadata["folds"] == 3
    for number, one in enumerate(folds):
        again = spectrum.fold(stacked, number)
        assert all((mine == theirs).all() for mine, theirs in zip(again[:5], one[:5], strict=True))
        assert again.metadata["steps_done"] == one.metadata["steps_done"]
        assert again.metadata["product_error"] == one.metadata["product_error"]
    assert stacked.metadata["steps_done"] == [[4, 4]] * 3
    seconds = sum(fold.metadata["seconds"] for fold in folds)
    assert stacked.metadata["seconds"] == pytest.approx(seconds, abs=1e-3)


def test_a_fold_is_drawn_without_replacement_and_sorted():
    folds = measurement.draw_folds(20, 15, 4, seed=0)
    assert folds.shape == (4, 15)
    assert folds.dtype == np.int64
    assert (np.diff(folds, axis=1) > 0).all()
    assert folds.min() >= 0
    assert folds.max() < 20
    assert len({tuple(fold) for fold in folds}) == 4


def test_every_example_is_drawn_equally_often():
    """Each position is in a fold with probability B/N: 5 standard errors over 2000 folds."""
    folds = measurement.draw_folds(10, 3, 2000, seed=0)
    share = np.bincount(folds.ravel(), minlength=10) / 2000
    assert np.abs(share - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_more_folds_keep_the_ones_before():
    few, many = (measurement.draw_folds(50, 8, folds, seed=3) for folds in (2, 6))
    assert (many[:2] == few).all()


def test_folds_depend_on_the_seed_and_the_batch_size():
    folds = [measurement.draw_folds(50, 8, 1, seed=seed)[0] for seed in (0, 0, 1)]
    assert (folds[0] == folds[1]).all()
    assert (folds[0] != folds[2]).any()
    larger = measurement.draw_folds(50, 9, 1, seed=0)[0]
    assert not set(folds[0]) <= set(larger)


def test_a_batch_of_everything_is_everything():
    assert (measurement.draw_folds(5, 5, 2, seed=0) == np.arange(5)).all()


@pytest.mark.parametrize("batch_size", [0, 6])
def test_impossible_batch_sizes_are_refused(batch_size):
    with pytest.raises(ValueError, match=rf"batch_size must be in 1 \.\. 5, got {batch_size}"):
        measurement.draw_folds(5, batch_size, 1, seed=0)


@pytest.fixture
def images():
    labels = torch.arange(7)
    return examples.Examples(labels.to(torch.uint8).view(7, 1, 1, 1), labels, (0.0,), (1.0,))


def test_shuffling_permutes_images_and_labels_together(images):
    shuffled = measurement.shuffled(images, seed=0)
    assert shuffled.targets.sort().values.equal(images.targets)
    assert not shuffled.targets.equal(images.targets)
    assert shuffled.inputs.flatten().long().equal(shuffled.targets)
    assert measurement.shuffled(images, seed=0).targets.equal(shuffled.targets)


def test_disjoint_parts_share_nothing_and_leave_nothing_out(images):
    parts = measurement.disjoint_parts(images, 3)
    assert [len(part) for part in parts] == [3, 2, 2]
    assert torch.cat([part.targets for part in parts]).equal(images.targets)


def test_the_file_of_vectors_holds_eigenvectors_from_the_outermost_inwards(operator, tmp_path):
    _, (run,) = measurement.measure(operator, steps=6, seed=1)
    path = str(tmp_path / "vectors.safetensors")
    extremal_vectors.save(path, run, 2)
    loaded = extremal_vectors.load(path)
    assert loaded["top_values"].numpy() == pytest.approx([7, 2])
    assert loaded["bottom_values"].numpy() == pytest.approx([-3, -1])
    assert loaded["top"].dtype == torch.float32
    assert loaded["bottom_residuals"].tolist() == lanczos.ritz(run).residuals[:2].tolist()
    for end in ("top", "bottom"):
        vectors = loaded[end].double()
        expected = loaded[f"{end}_values"][:, None] * vectors
        assert (vectors @ operator.matrix - expected).abs().max() < 1e-5


def test_no_more_vectors_are_kept_than_there_are_ritz_values(operator, tmp_path, caplog):
    _, (run,) = measurement.measure(operator, steps=3, seed=1)
    path = str(tmp_path / "vectors.safetensors")
    with caplog.at_level(logging.WARNING):
        extremal_vectors.save(path, run, 10)
    assert [len(extremal_vectors.load(path)[end]) for end in ("top", "bottom")] == [1, 1]
    assert "1 Ritz vectors of each end are kept instead of 10" in caplog.text
    assert tensorfile.load(path)[1].items() >= {"asked_for": "10", "kept": "1"}.items()


def test_directions_are_named_from_the_outermost_inwards(operator, tmp_path):
    _, (run,) = measurement.measure(operator, steps=6, seed=1)
    path = str(tmp_path / "vectors.safetensors")
    extremal_vectors.save(path, run, 2)
    names, directions, values = extremal_vectors.named(extremal_vectors.load(path))
    assert names == ["top-1", "top-2", "bottom-1", "bottom-2"]
    assert values == pytest.approx([7, 2, -3, -1])
    quotients = (directions @ operator.matrix * directions).sum(1)
    assert quotients.numpy() == pytest.approx(values, abs=1e-6)
    assert directions.norm(dim=1).numpy() == pytest.approx(np.ones(4), abs=1e-12)


def test_early_stopping_is_recorded(operator):
    generator = torch.Generator().manual_seed(0)
    bulk = torch.rand(58, generator=generator, dtype=torch.float64)
    large = Dense(symmetric([-10.0, *bulk.tolist(), 10.0]))
    measured, _ = measurement.measure(large, steps=40, seed=1, tolerance=1e-6)
    (done,) = measured.metadata["steps_done"]
    assert done < 40
    assert measured.ritz_values.shape == measured.residuals.shape == (1, done)
    assert measured.off_diagonal.shape == (1, done - 1)
    assert np.isfinite(np.concatenate(measured[:4])).all()
    assert spectrum.extremal(measured, "largest")[0] == pytest.approx(10, rel=1e-6)
    assert spectrum.extremal(measured, "smallest")[0] == pytest.approx(-10, rel=1e-6)


def test_a_finished_spectrum_is_taken_from_the_state(tmp_path):
    """What a killed run has finished is not measured again; damaged state is."""
    source = measurement.Source(torch.nn.Linear(2, 2), None, {}, None)
    operator, state = (
        Dense(torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))),
        tmp_path / "fold",
    )
    first = source.spectrum(operator, state=state, steps=4, seed=0)
    again = source.spectrum(operator, state=state, steps=4, seed=0)
    assert again.metadata == first.metadata  # the seconds, too
    operator.matrix = 2 * operator.matrix
    with pytest.raises(ValueError, match=r"fold\.npz was begun with another matrix.*delete it"):
        source.spectrum(operator, state=state, steps=4, seed=0)
    np.testing.assert_array_equal(again.ritz_values, first.ritz_values)
    finished = state.with_suffix(".npz")
    finished.write_bytes(finished.read_bytes()[:100])
    anew = source.spectrum(operator, state=state, steps=4, seed=0)
    np.testing.assert_allclose(anew.ritz_values, 2 * first.ritz_values, rtol=1e-12)


@pytest.mark.parametrize("architecture", [Convolutional, InnerGradient])
def test_a_finished_spectrum_is_taken_however_its_products_were_made(tmp_path, architecture):
    """By rules or plainly, with graphs kept or not: that is no part of the matrix."""
    model, data = cases.network(architecture), cases.examples(6)
    source = measurement.Source(model, None, {"precision": "float64"}, None)
    first = source.spectrum(
        source.operator(Hessian, data), state=tmp_path / "fold", steps=4, seed=0
    )
    assert first.metadata["differentiation"].startswith(
        "by rules" if architecture is Convolutional else "plain"
    )
    again = source.spectrum(
        source.operator(Hessian, data, memory=0), state=tmp_path / "fold", steps=4, seed=0
    )
    assert again.metadata == first.metadata
