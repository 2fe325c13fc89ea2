"""A matrix in the geometry of an optimiser against the one that is written down."""

import pytest
import torch
from dense import Dense

from truehessian.operators.preconditioned import Preconditioned


@pytest.fixture
def matrix():
    half = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return half + half.T


def test_its_eigenvalues_are_those_of_the_quotient(matrix):
    diagonal = torch.linspace(0.01, 4, 12, dtype=torch.float64)
    found = Preconditioned(Dense(matrix), diagonal) @ torch.eye(12, dtype=torch.float64)
    torch.testing.assert_close(found, found.T)
    expected = torch.linalg.eigvals(matrix / diagonal[:, None]).real.sort().values
    torch.testing.assert_close(torch.linalg.eigvalsh(found), expected)


def test_it_says_what_it_is_and_is_no_more_definite_than_the_matrix(matrix):
    inner = Dense(matrix)
    inner.semidefinite = True
    found = Preconditioned(inner, torch.ones(12))
    assert found.describe() == {"operator": "preconditioned dense", "num_parameters": 12}
    assert found.semidefinite
    torch.testing.assert_close(found @ matrix[0], inner @ matrix[0])


@pytest.mark.parametrize(
    ("diagonal", "words"),
    [
        (torch.ones(11), "length 12"),
        (torch.zeros(12), "positive"),
        (torch.full((12,), torch.inf), "finite"),
    ],
)
def test_what_is_no_preconditioner_is_refused(matrix, diagonal, words):
    with pytest.raises(ValueError, match=words):
        Preconditioned(Dense(matrix), diagonal)
