"""Curvature at outputs without each example: its matrices, and what it says of the test split."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dense import dense_hessian, some_vectors

from truehessian.data import catalogue
from truehessian.measurements import left_out
from truehessian.measurements.source import Source
from truehessian.networks import registry
from truehessian.networks.evaluation import evaluate
from truehessian.networks.schedule import learning_rate_at
from truehessian.operators.hessian import Hessian
from truehessian.theory import early_stopping

EPOCHS, BATCH, RATE, BETA, DECAY = 60, 20, 0.1, 0.9, 5e-4


@pytest.fixture(scope="module")
def fitted():
    """A network that has fitted 160 digits, and the time that it took."""
    data = catalogue.fetch("digits", train_examples=160, test_examples=350)
    model = registry.build(
        "mlp", num_classes=10, input_shape=(1, 8, 8), hidden=[12], activation="tanh", seed=0
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=BETA, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(0)
    rates = []
    for epoch in range(EPOCHS):
        optimiser.param_groups[0]["lr"] = learning_rate_at(epoch, EPOCHS, RATE)
        for places in torch.randperm(160, generator=generator).split(BATCH):
            inputs, targets = data.train.batch(places)
            optimiser.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimiser.step()
            rates.append(optimiser.param_groups[0]["lr"])
    how = {"precision": "float64", "loss": F.cross_entropy, "weight_decay": 0.0}
    return Source(model.eval(), data, how, None), early_stopping.damping(rates, BETA)


@pytest.fixture(scope="module")
def everything(fitted, tmp_path_factory):
    """All examples left out, and what comes of it."""
    source, damping = fitted
    state = tmp_path_factory.mktemp("state")
    places = left_out.draw(160, None, 0)
    how = {"damping": damping, "penalty": DECAY, "tolerance": 1e-3, "most": 200}
    left = left_out.solve(source, places, state / "left-out", **how)
    found = left_out.matrices(source, places, torch.from_numpy(left.offsets))
    return source, places, left, found


def test_the_loss_without_each_example_is_nearer_to_that_of_the_test_split(everything):
    """Fitted this far, a third of the way at least, on a logarithmic scale; docs/influence.md."""
    source, _, left, found = everything
    training, without = (left_out.mean_loss(own) for own in (found.plain, found.shifted))
    assert training == pytest.approx(evaluate(source.model, source.dataset.train).loss, rel=1e-5)
    test = evaluate(source.model, source.dataset.test).loss
    assert abs(np.log(without / test)) < 0.65 * abs(np.log(training / test))
    assert left.residuals.max() <= 1e-3


def test_so_is_the_largest_eigenvalue(everything, tmp_path):
    source, *_, found = everything
    vectors, values = [], []
    matrix = source.operator(Hessian, source.dataset.train)
    dense = matrix @ torch.eye(matrix.num_params, dtype=torch.float64)
    eigen = torch.linalg.eigh(dense)
    vectors = eigen.eigenvectors[:, [-1, 0]].T
    values = eigen.eigenvalues[[-1, 0]].tolist()
    how = {"steps": 40, "seed": 0, "state": tmp_path / "state"}
    frame = left_out.table(source, found, vectors, values, **how).set_index("end")
    test = source.operator(Hessian, source.dataset.test)
    whole = torch.linalg.eigvalsh(test @ torch.eye(test.num_params, dtype=torch.float64))
    row = frame.loc["largest"]
    gap = np.log(whole[-1].item() / row["training"])
    assert abs(np.log(whole[-1].item() / row["leave_one_out"])) < 0.5 * gap
    # Along the training Hessian's own top vector as well, and exactly what it is said to be.
    quotient = (found.shifted.matvec(vectors[0]) @ vectors[0]).item()
    assert row["along_leave_one_out"] == pytest.approx(quotient, rel=1e-8)
    assert row["along_leave_one_out"] <= row["leave_one_out"] * (1 + 1e-6)
    assert 0 < row["along_standard_error"] < row["along_leave_one_out"]


def test_of_a_part_the_matrix_is_that_of_all_with_the_difference_that_they_make(fitted):
    source, _ = fitted
    places = left_out.draw(160, 9, 1)
    offsets = torch.randn(9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = left_out.matrices(source, places, offsets)
    train = source.dataset.train
    inputs, targets = train.batch(torch.tensor(places), torch.float64)
    loss = F.cross_entropy
    shifted = dense_hessian(source.model, inputs, targets, lambda z, t: loss(z + offsets, t))
    plain = dense_hessian(source.model, inputs, targets)
    vectors = some_vectors(len(plain), 2)
    expected = source.operator(Hessian, train) @ vectors + (shifted - plain) @ vectors
    torch.testing.assert_close(found.whole @ vectors, expected, rtol=1e-8, atol=1e-8)


def test_examples_are_drawn_in_random_order_and_more_of_them_keep_the_first():
    assert sorted(left_out.draw(20, None, 3)) == list(range(20))
    assert left_out.draw(20, 5, 3) == left_out.draw(20, 9, 3)[:5]
    assert left_out.draw(20, 5, 3) != left_out.draw(20, 5, 4)
