"""Parts of single examples against dense Hessians: with all of them a model is the batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import Convolutional, Smooth, examples, network
from dense import dense_hessian
from torch.nn.functional import mse_loss

from truehessian.measurements import chunks_kept, parts
from truehessian.measurements.inner_products import Coordinates
from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.operators import Hessian
from truehessian.operators.batches import BatchData
from truehessian.operators.folds import Folds
from truehessian.theory.predictions import batch_model
from truehessian.theory.predictions.examples import effective_number

COUNT, VECTORS = 10, 4
CASES = {
    "cross-entropy": (Smooth, "cross_entropy"),
    "kinks": (Convolutional, "cross_entropy"),
    "squares": (Smooth, "squares"),
}


def settings(**changes):
    base = {"examples": None, "vectors": 2, "steps": 8, "pairs": 2, "dimension": 10_000, "seed": 0}
    return SimpleNamespace(**base | changes)


def problem(name):
    """An operator in float64 and the dense Hessians of its examples, shape (N, P, P)."""
    kind, loss = CASES[name]
    inputs, targets = examples(COUNT)
    if loss == "squares":
        generator = torch.Generator().manual_seed(3)
        targets, loss = torch.randn(COUNT, 3, generator=generator), mse_loss
    model = network(kind)
    plain = torch.nn.functional.cross_entropy if loss == "cross_entropy" else loss
    dense = [
        dense_hessian(model, inputs[i : i + 1].double(), double(targets[i : i + 1]), plain)
        for i in range(COUNT)
    ]
    operator = Hessian(model, (inputs, targets), loss=loss, precision="float64")
    return operator, torch.stack(dense)


def double(targets):
    return targets.double() if targets.is_floating_point() else targets


def extremes(matrix, per_end=VECTORS // 2):
    """Vectors as rows and values, those of the upper end first."""
    values, vectors = torch.linalg.eigh(matrix)
    order = [*range(-1, -1 - per_end, -1), *range(per_end)]
    return vectors.T[order], values[order].numpy()


def not_zero(eigenvalues):
    return np.sort(eigenvalues[np.abs(eigenvalues) > 1e-7])


def everything(operator):
    return settings(steps=operator.num_params // 2 * 2, pairs=operator.num_params // 2)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("chosen", [[3], [0, 4, 7], range(COUNT)], ids=["one", "three", "all"])
def test_with_all_parts_the_model_of_a_batch_has_its_eigenvalues(name, chosen):
    operator, dense = problem(name)
    measured = parts.measure(operator, *extremes(dense.mean(0)), everything(operator))
    model = batch_model.matrix(measured, np.array(chosen))
    expected = np.linalg.eigvalsh(dense[list(chosen)].mean(0))
    np.testing.assert_allclose(not_zero(np.linalg.eigvalsh(model)), not_zero(expected), atol=2e-7)


def test_any_orthonormal_vectors_will_do_where_all_parts_are_kept():
    """Parts then hold all coupling that vectors have which are no eigenvectors."""
    operator, dense = problem("cross-entropy")
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(operator.num_params, VECTORS, generator=generator, dtype=torch.float64)
    vectors = torch.linalg.qr(start)[0].T
    measured = parts.measure(operator, vectors, np.zeros(VECTORS), everything(operator))
    model = batch_model.matrix(measured, np.arange(COUNT))
    expected = np.linalg.eigvalsh(dense.mean(0))
    np.testing.assert_allclose(not_zero(np.linalg.eigvalsh(model)), not_zero(expected), atol=2e-7)


def test_a_batch_of_all_examples_has_the_ends_of_the_full_hessian_whatever_is_kept():
    operator, dense = problem("kinks")
    vectors, values = extremes(dense.mean(0))
    measured = parts.measure(operator, vectors, values, settings(steps=3, pairs=1))
    model = np.linalg.eigvalsh(batch_model.matrix(measured, np.arange(COUNT)))
    np.testing.assert_allclose(model[[-1, -2, 0, 1]], values, rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_parts_are_the_outer_eigenpairs_of_each_example(name):
    """Enough steps find them; what they have in and outside of U is the whole of them."""
    operator, dense = problem(name)
    vectors, values = extremes(dense.mean(0))
    steps = operator.num_params // 2 * 2
    measured = parts.measure(operator, vectors, values, settings(steps=steps, pairs=2))
    for number in range(COUNT):
        eigenvalues, axes = np.linalg.eigh(dense[number].numpy())
        outer = [-1, -2, 0, 1]
        np.testing.assert_allclose(measured.values[number], eigenvalues[outer], atol=1e-8)
        whole = measured.inside[number] @ vectors.numpy() + measured.outside[number]
        sharp = np.abs(eigenvalues[outer]) > 1e-4
        overlaps = np.abs(np.sum(whole * axes.T[outer], axis=1))
        np.testing.assert_allclose(overlaps[sharp], 1, atol=1e-6)


def test_what_is_left_of_the_coupling_and_its_curvature_are_those_of_dense_matrices():
    operator, dense = problem("cross-entropy")
    vectors, values = extremes(dense.mean(0))
    measured = parts.measure(operator, vectors, values, settings(steps=4, pairs=1))
    basis, total = vectors.numpy(), np.zeros((VECTORS, operator.num_params))
    for number in range(COUNT):
        own = dense[number].numpy()
        np.testing.assert_allclose(measured.within[number], basis @ own @ basis.T, atol=1e-12)
        vector = measured.inside[number] @ basis + measured.outside[number]
        left = own - (vector.T * measured.values[number]) @ vector
        rest = basis @ left
        rest -= rest @ basis.T @ basis
        np.testing.assert_allclose(measured.rest[number], rest @ rest.T, atol=1e-12)
        for end, row in enumerate((rest[0], rest[2])):
            curvature = row @ left @ row / (row @ row)
            np.testing.assert_allclose(measured.rest_values[number, end], curvature, rtol=1e-7)
        total += rest / COUNT
    np.testing.assert_allclose(measured.offset, total, atol=1e-12)


def test_in_one_graph_and_one_by_one_they_are_the_same(monkeypatch):
    operator, dense = problem("kinks")
    given = (operator, *extremes(dense.mean(0)), settings())
    together = parts.measure(*given)
    monkeypatch.setattr(Folds, "_most", lambda self, kind, members: 1)
    single = parts.measure(*given)
    for name in ("within", "values", "rest", "rest_values", "offset"):
        found, expected = getattr(together, name), getattr(single, name)
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=name)
    chosen = np.arange(4)
    models = [np.linalg.eigvalsh(batch_model.matrix(own, chosen)) for own in (together, single)]
    np.testing.assert_allclose(*models, atol=1e-8)


def test_single_precision_in_random_coordinates_is_near():
    operator, dense = problem("kinks")
    vectors, values = extremes(dense.mean(0))
    exact = parts.measure(operator, vectors, values, settings())
    plain = Hessian(network(Convolutional), examples(COUNT))
    short = parts.measure(plain, vectors, values, settings(dimension=24))
    assert exact.sketch_error == 0
    assert 0.02 < short.sketch_error < 24**-0.5 * 1.5
    assert short.outside.dtype == np.float16
    assert short.outside.shape[2] == 24
    np.testing.assert_allclose(short.within, exact.within, atol=1e-4)
    lengths = [(own.outside.astype(float) ** 2).sum(axis=2) for own in (short, exact)]
    sharp = np.abs(exact.values) > 1e-2
    np.testing.assert_allclose(lengths[0][sharp], lengths[1][sharp], atol=5e-3)


@pytest.mark.parametrize("length", [7, 60])
def test_coordinates_keep_inner_products_to_the_stated_error(length):
    """Without bias, with a variance of (|x|² |y|² + (x·y)²) / d at most, and exact where d >= P."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, length, generator=generator, dtype=torch.float64)
    x[3] = 20.0  # most of it in a single place
    y[3] = 5.0
    true, dimension, draws = float(x @ y), 12, 3000
    found = []
    for seed in range(draws):
        short = Coordinates(length, dimension, seed, torch.device("cpu"), torch.float64)
        assert short.is_exact == (length <= dimension)
        a, b = short(torch.stack([x, y]))
        found.append(float(a @ b))
    found = np.array(found)
    if length <= dimension:
        np.testing.assert_allclose(found, true)
        return
    bound = float((x @ x) * (y @ y)) + true**2
    assert abs(found.mean() - true) < 5 * found.std() / draws**0.5
    assert found.var() < 1.1 * bound / dimension
    assert found.var() > 0.01 * bound / dimension


def test_weights_of_examples_enter_as_influences():
    """Their mean is the Hessian of the weighted loss, and one that does not count has no part."""
    inputs, targets = examples(COUNT)
    loss = CrossEntropy(weight=[0.5, 3.0, 0.0])
    targets = torch.arange(COUNT) % 3
    model = network(Smooth)
    operator = Hessian(model, (inputs, targets), loss=loss, precision="float64")
    plain = torch.nn.CrossEntropyLoss(weight=torch.tensor([0.5, 3.0, 0.0], dtype=torch.float64))
    whole = dense_hessian(model, inputs.double(), targets, plain)
    vectors, values = extremes(whole)
    measured = parts.measure(operator, vectors, values, everything(operator))
    np.testing.assert_allclose(measured.hessian, np.diag(values), atol=1e-10)
    model_of_all = np.linalg.eigvalsh(batch_model.matrix(measured, np.arange(COUNT)))
    np.testing.assert_allclose(
        not_zero(model_of_all), not_zero(np.linalg.eigvalsh(whole)), atol=2e-7
    )
    silent = (targets == 2).numpy()
    assert not measured.values[silent].any()
    # The matrix of one that does not count is, to first order, that of all the data.
    np.testing.assert_allclose(measured.within[silent][0], np.diag(values), atol=1e-10)


def test_a_part_of_the_examples_is_a_random_one_of_the_same_parts():
    operator, dense = problem("cross-entropy")
    vectors, values = extremes(dense.mean(0))
    whole = parts.measure(operator, vectors, values, settings())
    some = parts.measure(operator, vectors, values, settings(examples=6))
    assert len(set(some.indices)) == 6
    assert not some.are_all
    np.testing.assert_allclose(some.values, whole.values[some.indices], atol=1e-9)
    np.testing.assert_allclose(some.hessian, whole.within[some.indices].mean(axis=0), atol=1e-9)
    assert (whole.passes, some.passes) == (VECTORS + 8 + 2, (VECTORS + 8 + 2) * 0.6)
    other = parts.measure(operator, vectors, values, settings(examples=6, seed=1))
    assert set(other.indices) != set(some.indices)
    more = parts.measure(operator, vectors, values, settings(examples=10**6))
    np.testing.assert_array_equal(more.within, whole.within)
    np.testing.assert_allclose(effective_number(whole)[0], _carriers(dense, vectors[0]))


def _carriers(dense, u):
    along = torch.einsum("p,npq,q->n", u, dense, u).abs()
    return float(along.sum() ** 2 / (along**2).sum())


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_AT_ONCE", 3)
    operator, dense = problem("kinks")
    given = (operator, *extremes(dense.mean(0)), settings())
    whole = parts.measure(*given)
    found, looked_at = parts.of_examples, []

    def killed(matrices, *others):
        looked_at.append(matrices.group.numbers)
        if len(looked_at) == 3:
            raise KeyboardInterrupt
        return found(matrices, *others)

    monkeypatch.setattr(parts, "of_examples", killed)
    with pytest.raises(KeyboardInterrupt):
        parts.measure(*given, state=tmp_path / "state")
    resumed = parts.measure(*given, state=tmp_path / "state")
    assert looked_at == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [6, 7, 8], [9]]
    for name in ("within", "values", "inside", "outside", "rest", "rest_values", "offset"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))


def test_a_state_of_another_run_is_refused_and_a_damaged_one_made_again(tmp_path):
    operator, dense = problem("cross-entropy")
    vectors, values = extremes(dense.mean(0))
    whole = parts.measure(operator, vectors, values, settings(), state=tmp_path)
    with pytest.raises(ValueError, match="begun with another matrix or other settings; delete"):
        parts.measure(operator, vectors.flip(0), values, settings(), state=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = parts.measure(operator, vectors, values, settings(), state=tmp_path)
    np.testing.assert_array_equal(again.values, whole.values)


def test_a_state_that_cannot_be_written_costs_the_state_only(tmp_path, caplog):
    tmp_path.joinpath("file").touch()
    keep = chunks_kept.Chunks(tmp_path / "file", "mark")
    keep.put([0, 1], {"numbers": np.arange(2)})
    assert "a finished chunk is not kept" in caplog.text
    assert chunks_kept.Chunks(None, "mark").take([0]) is None


@pytest.mark.parametrize(
    ("how", "vectors", "changes", "message"),
    [
        ({"batchnorm": "train"}, 4, {}, "use batchnorm: eval"),
        ({"weight_decay": 0.1}, 4, {}, "take an operator without weight_decay"),
        ({}, 3, {}, "as many of either end, at least one, got 3"),
        ({}, 4, {"steps": 3}, "pairs must be from 1 to half of the 3 steps"),
        ({}, 4, {"examples": 1}, "examples must be at least 2, got 1"),
    ],
)
def test_what_has_no_parts_is_refused(how, vectors, changes, message):
    operator = Hessian(network(Convolutional), examples(COUNT), **how)
    unit = torch.eye(operator.num_params)[:vectors]
    with pytest.raises(ValueError, match=message):
        parts.measure(operator, unit, np.zeros(vectors), settings(**changes))


def test_batches_of_ones_own_cannot_be_taken_apart():
    inputs, targets = examples(COUNT)
    operator = Hessian(network(Smooth), BatchData([(inputs, targets)]))
    with pytest.raises(TypeError, match="parts are those of single examples"):
        parts.measure(operator, torch.eye(83)[:4], np.zeros(4), settings())


def test_a_product_that_is_not_finite_is_said():
    inputs, targets = examples(COUNT)
    inputs[7] = float("nan")
    operator = Hessian(network(Smooth), (inputs, targets))
    with pytest.raises(FloatingPointError, match="NaN"):
        parts.measure(operator, torch.eye(83)[:4], np.zeros(4), settings())
