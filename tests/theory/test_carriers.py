"""How many examples carry an eigenvalue."""

import math

import numpy as np
import pytest

from truehessian.theory.estimates import carriers
from truehessian.theory.predictions.noise import SubspaceNoise


@pytest.mark.parametrize("k", [1, 7, 100])
def test_k_equal_contributions_among_a_hundred_are_k(k):
    quotients = np.zeros(100)
    quotients[:k] = 3.0
    found = carriers.effective_examples(quotients.mean(), quotients.var(), 100)
    assert found == pytest.approx(k)


def test_it_is_the_participation_ratio_of_the_contributions_whatever_they_are():
    quotients = np.random.default_rng(0).normal(0.3, 1, size=(3, 50))
    found = carriers.effective_examples(quotients.mean(1), quotients.var(1), 50)
    np.testing.assert_allclose(found, quotients.sum(1) ** 2 / (quotients**2).sum(1))


def test_nothing_is_carried_by_none_and_what_is_missing_stays_missing():
    assert carriers.effective_examples(0.0, 0.0, 10) == 0
    assert math.isnan(carriers.effective_examples(math.nan, 1.0, 10))


def test_random_groups_show_the_carriers_of_single_examples():
    """20 of 1,200 examples carry the first value; groups of 6, many partitions."""
    generator = np.random.default_rng(1)
    quotients = np.zeros((1200, 2))
    quotients[:20, 0], quotients[:, 1] = 1.0, -2.0
    found = []
    for _ in range(400):
        groups = generator.permutation(quotients).reshape(200, 6, 2).mean(1)
        projected = groups[:, :, None] * np.eye(2)
        noise = SubspaceNoise(np.array([0.02, -2.0]), projected, np.zeros((2, 2)), 6, 1200)
        found.append(carriers.of_ritz_vectors(noise))
    assert np.mean(found, 0) == pytest.approx([20, 1200], rel=0.02)
    assert np.std(found, 0)[0] < 4
