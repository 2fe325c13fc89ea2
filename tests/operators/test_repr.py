"""An operator says what it is, in one line, before and after its first product."""

import pytest
import torch
import torch.nn.functional as F
from cases import Smooth, examples, network
from dense import Dense
from torch import nn

from truehessian.operators import GGN, GradientCovariance, Hessian, Noise

DATA = examples(10)
HESSIAN = "Hessian(Smooth, P=83, N=10, loss=cross_entropy, float32, cpu)"


@pytest.fixture
def hessian():
    return Hessian(network(Smooth), DATA)


def test_an_operator_names_network_sizes_loss_and_place(hessian):
    assert repr(hessian) == HESSIAN
    hessian @ torch.ones(83)
    assert repr(hessian) == HESSIAN


def test_large_numbers_are_grouped():
    wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 100), nn.Linear(100, 3))
    ggn = GGN(wide, DATA, precision="tf32", loss=nn.CrossEntropyLoss())
    assert repr(ggn) == "GGN(Sequential, P=2,003, N=10, loss=CrossEntropyLoss, tf32, cpu)"


def test_the_covariance_says_what_its_fisher_matrix_does():
    shown = repr(GradientCovariance(network(Smooth), DATA, precision="float64"))
    assert shown == "GradientCovariance(Smooth, P=83, N=10, loss=cross_entropy, float64, cpu)"


def test_algebra_shows_its_terms(hessian):
    assert repr(2 * hessian - hessian) == f"LinearCombination(+2 {HESSIAN}, -1 {HESSIAN})"


def test_noise_names_its_batch(hessian):
    batch = Hessian(network(Smooth), (DATA[0][:4], DATA[1][:4]))
    assert repr(Noise(batch, hessian)) == f"Noise(batch of 4 - {HESSIAN})"


def test_an_operator_of_ones_own_shows_what_every_operator_has():
    assert repr(Dense(torch.eye(3))) == "Dense(P=3, float64, cpu)"


def test_a_loss_without_a_name_is_called_by_its_type():
    class Loss:
        def __call__(self, outputs, targets):
            return F.cross_entropy(outputs, targets)

    assert "loss=Loss," in repr(Hessian(network(Smooth), DATA, loss=Loss()))
