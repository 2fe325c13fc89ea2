"""The dense perceptrons that stated errors were set by."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from dense import dense_hessian
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import perceptrons, stated_errors


def symmetric(count, order, seed=0):
    draw = np.random.default_rng(seed).standard_normal((count, order, order))
    return draw + draw.transpose(0, 2, 1) + np.diag(np.linspace(6, -6, order))


def test_hessians_of_examples_are_those_of_double_differentiation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    inputs, targets = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    found = perceptrons.hessians(network, inputs, targets)
    for number in range(5):
        part = slice(number, number + 1)
        expected = dense_hessian(network, inputs[part], targets[part])
        np.testing.assert_allclose(found[number], expected.numpy(), atol=1e-6)


def test_every_size_and_end_meets_predictions_with_stated_errors(monkeypatch):
    monkeypatch.setattr(perceptrons, "FOLDS", 20)
    monkeypatch.setattr(perceptrons, "SIZES", (16, 32))
    matrices = symmetric(64, 24)
    found = perceptrons.seen(3, matrices, np.random.default_rng(0))
    frame = pd.DataFrame(perceptrons.rows(found, 24))
    assert frame[["batch_size", "end"]].drop_duplicates().shape == (4, 2)
    extreme = np.linalg.eigvalsh(matrices.mean(0))[[-1, 0]]
    np.testing.assert_allclose(frame["full"].unique(), extreme)
    assert frame[["subspace_expected_error", "chosen_expected_error"]].notna().all(axis=None)
    basis = found.covariance.diagonal()[[0, perceptrons.RITZ]]
    vectors = np.linalg.eigh(matrices.mean(0))[1][:, [-1, 0]]
    noise = ((matrices - matrices.mean(0)) @ vectors) ** 2
    np.testing.assert_allclose(basis, noise.sum(1).mean(0))


def test_cases_that_batches_do_not_shift_are_left_out(tmp_path):
    frame = pd.DataFrame({"full": [2.0, 0.0], "batch_mean": [3.0, 1e-9], "epoch": [0, 1]})
    (tmp_path / "mine/tables").mkdir(parents=True)
    frame.to_csv(tmp_path / "mine/tables/theory_vs_empirical.csv", index=False)
    assert stated_errors.gathered([str(tmp_path / "mine")])["epoch"].tolist() == [0]
