"""Systems of linear equations against their solutions."""

import pytest
import torch

from truehessian.measurements import conjugate_gradients


@pytest.fixture
def systems():
    """Four positive definite matrices of their own conditions, and right sides."""
    generator = torch.Generator().manual_seed(0)
    matrices = []
    for condition in (1.0, 10.0, 100.0, 1000.0):
        half = torch.randn(30, 30, generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(half)[0]
        matrices.append(basis * torch.logspace(0, torch.tensor(condition).log10(), 30) @ basis.T)
    right = torch.randn(4, 30, generator=generator, dtype=torch.float64)
    return torch.stack(matrices), right * torch.tensor([[1.0], [1e6], [1e-6], [1.0]])


def multiplier(matrices, asked=None):
    def multiply(rows, block):
        if asked is not None:
            asked.append(list(rows))
        return torch.einsum("kij,kj->ki", matrices[list(rows)], block)

    return multiply


def test_each_system_is_solved_and_asked_for_only_until_then(systems):
    matrices, right = systems
    asked = []
    how = {"tolerance": 1e-10, "most": 200}
    found = conjugate_gradients.solve(multiplier(matrices, asked), right, **how)
    expected = torch.linalg.solve(matrices, right[:, :, None])[:, :, 0]
    torch.testing.assert_close(found.solutions, expected, rtol=1e-7, atol=0)
    left = right - torch.einsum("kij,kj->ki", matrices, found.solutions)
    assert (left.norm(dim=1) / right.norm(dim=1)).max() < 2e-10
    assert [sum(row in rows for rows in asked) for row in range(4)] == found.steps.tolist()
    assert found.steps[0] == 1  # a multiple of the identity
    assert (found.steps.diff() > 0).all()


def test_what_is_not_solved_says_how_much_is_left(systems):
    matrices, right = systems
    found = conjugate_gradients.solve(multiplier(matrices), right, tolerance=1e-12, most=5)
    left = right - torch.einsum("kij,kj->ki", matrices, found.solutions)
    torch.testing.assert_close(
        found.residuals, left.norm(dim=1) / right.norm(dim=1), rtol=1e-6, atol=1e-14
    )
    assert found.residuals[-1] > 1e-3


def test_a_right_side_of_zeros_has_its_solution_at_once(systems):
    matrices, right = systems
    right[1] = 0
    asked = []
    how = {"tolerance": 1e-8, "most": 50}
    found = conjugate_gradients.solve(multiplier(matrices, asked), right, **how)
    assert (found.solutions[1] == 0).all()
    assert found.residuals[1] == 0
    assert not any(1 in rows for rows in asked)
