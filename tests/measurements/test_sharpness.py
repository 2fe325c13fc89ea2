"""Curvature along gradients against matrices and gradients that are written down."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from dense import dense_gradient, dense_hessian
from torch import nn

from truehessian.measurements import chunks_kept, sharpness
from truehessian.operators.hessian import Hessian

SIZE, FOLDS = 6, 4


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(40, 4, generator=generator), torch.arange(40) % 3


def batches_of(data, count, size=SIZE, seed=0):
    draw = np.random.default_rng(seed)
    places = [torch.from_numpy(draw.permutation(len(data[1]))[:size]) for _ in range(count)]
    return [(data[0][own], data[1][own]) for own in places]


def written_down(model, batches, others, onto):
    """The four numbers of each batch, by their definitions."""
    rows = []
    for own, other in zip(batches, others, strict=True):
        inputs, targets = own[0].double(), own[1]
        gradient = dense_gradient(model, inputs, targets)
        hessian = dense_hessian(model, inputs, targets)
        another = dense_hessian(model, other[0].double(), other[1])
        rows.append(
            (
                gradient @ gradient,
                gradient @ hessian @ gradient,
                gradient @ another @ gradient,
                (onto @ gradient).square().sum(),
            )
        )
    return np.array(rows, dtype=float).T


@pytest.mark.parametrize("small", [2**18, 0])
def test_each_number_is_what_it_is_said_to_be(data, monkeypatch, small):
    """In one graph for all batches, and one batch after another."""
    folds = sharpness.Folds
    monkeypatch.setattr(sharpness, "Folds", lambda *how: folds(*how, small=small))
    model, (own, others) = network(), (batches_of(data, FOLDS), batches_of(data, FOLDS, seed=9))
    hessian = Hessian(model, data, precision="float64")
    onto = torch.linalg.qr(torch.randn(hessian.num_params, 3, dtype=torch.float64))[0].T
    found = sharpness.along_gradients(hessian, own, others, onto=onto)
    expected = written_down(model, own, others, onto)
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-9)


def test_all_the_data_are_a_batch_without_others(data):
    hessian = Hessian(network(), data, precision="float64", chunk_size=7)
    whole = sharpness.along_gradient(hessian)
    single = sharpness.along_gradients(hessian, [data])
    for name in ("squared_norms", "own"):
        np.testing.assert_allclose(getattr(whole, name), getattr(single, name), rtol=1e-10)
    assert np.isnan(whole.across).all()
    assert np.isnan(whole.inside).all()
    assert math.isnan(whole.batch_sharpness.standard_error)


def test_single_examples_of_a_linear_regression_have_the_curvature_of_their_inputs():
    """The loss (w x - y)² has the Hessian 2 x xᵀ, and its gradient lies along x."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(12, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False)
    hessian = Hessian(model, (inputs, targets), loss=F.mse_loss, precision="float64")
    singles = [(inputs[[place]], targets[[place]]) for place in range(12)]
    found = sharpness.along_gradients(hessian, singles)
    curvature = 2 * inputs.square().sum(1).numpy()
    np.testing.assert_allclose(found.own / found.squared_norms, curvature, rtol=1e-10)
    value, error = found.batch_sharpness
    assert value == pytest.approx(curvature.mean())
    assert error == pytest.approx(curvature.std(ddof=1) / math.sqrt(12))


def test_matrices_of_other_batches_stand_for_that_of_all_the_data(data):
    """Tr(H S) / Tr S with S = g gᵀ + f C over all batches drawn without replacement."""
    model, inputs, targets = network(), data[0].double(), data[1]
    gradients = torch.stack(
        [
            dense_gradient(model, x, y)
            for x, y in zip(inputs.split(1), targets.split(1), strict=True)
        ]
    )
    mean = gradients.mean(0)
    factor = (40 - SIZE) / (SIZE * 39)
    second = mean.outer(mean) + factor * torch.cov(gradients.T, correction=0)
    expected = (dense_hessian(model, inputs, targets) * second).sum() / second.trace()

    hessian = Hessian(model, data, precision="float64")
    count = 400
    found = sharpness.along_gradients(
        hessian, batches_of(data, count, seed=2), batches_of(data, count, seed=3)
    )
    value, error = found.interaction_aware
    assert abs(value - expected.item()) < 5 * error
    assert error < 0.2 * abs(expected.item())
    # The batches' own matrices are another thing: they know the examples of the gradient.
    assert found.ratio_of_means.value - value > 5 * error


def test_the_penalty_has_a_part_in_gradients_and_matrices(data):
    plain = Hessian(network(), data, precision="float64")
    decayed = Hessian(network(), data, precision="float64", weight_decay=0.3)
    weights = torch.cat([p.detach().double().reshape(-1) for p in network().parameters()])
    expected = sharpness.gradient(plain) + 0.3 * weights
    torch.testing.assert_close(sharpness.gradient(decayed), expected)
    found = sharpness.along_gradient(decayed)
    matrix = dense_hessian(network(), data[0].double(), data[1])
    quotient = expected @ matrix @ expected + 0.3 * expected @ expected
    assert found.own[0] == pytest.approx(quotient.item(), rel=1e-9)


def test_a_gradient_that_vanishes_has_no_direction_and_is_left_out():
    zero = FOUND._replace(squared_norms=np.array([0.0, 2.0]), own=np.array([0.0, 8.0]))
    assert zero.batch_sharpness.value == 4.0
    assert zero.ratio_of_means.value == 4.0
    none = zero._replace(squared_norms=np.zeros(2), own=np.zeros(2))
    for found in (none.batch_sharpness, none.ratio_of_means, none.share_inside):
        assert math.isnan(found.value)


def test_as_many_others_as_batches_are_needed(data):
    hessian = Hessian(network(), data)
    with pytest.raises(ValueError, match="as many others as batches, 2, got 1"):
        sharpness.along_gradients(hessian, batches_of(data, 2), batches_of(data, 1))


FOUND = sharpness.AlongGradients(*(np.array(row) for row in np.arange(1.0, 9.0).reshape(4, 2)))


def test_what_a_killed_run_has_left_is_not_measured_again(tmp_path):
    path = tmp_path / "state/16.npz"
    kept = partial(chunks_kept.kept, path, sharpness.AlongGradients)
    first = kept(lambda: FOUND)
    again = kept(lambda: pytest.fail("it was measured again"))
    for values, wanted in zip(again, first, strict=True):
        np.testing.assert_array_equal(values, wanted)
    path.write_bytes(path.read_bytes()[:40])
    assert kept(lambda: FOUND) is FOUND


def test_the_table_has_a_row_for_each_size_and_all_the_data_first():
    facts = sharpness.facts_of_steps(0.1, 0.9) | {"largest": 3.0, "dimension": 5, "chance": 0.1}
    frame = sharpness.table({None: FOUND, 16: FOUND}, facts)
    assert tuple(frame.columns) == sharpness.COLUMNS
    assert frame["batch_size"].tolist() == [pd.NA, 16]
    row = frame.iloc[1]
    assert row["sharpness"] == pytest.approx((3 / 1 + 4 / 2) / 2)
    assert row["ratio_of_means"] == pytest.approx(7 / 3)
    assert row["interaction_aware"] == pytest.approx(11 / 3)
    assert row["gradient_norm"] == pytest.approx(math.sqrt(1.5))
    assert (row["limit_small_batches"], row["limit_large_batches"]) == pytest.approx((2, 38))
    assert frame["preconditioned"].isna().all()


def test_without_a_rate_there_are_no_limits():
    facts = sharpness.facts_of_steps(None, None)
    assert math.isnan(facts["limit"])
    assert math.isnan(facts["learning_rate"])
