"""Lanczos on matrices whose spectra are known."""

import numpy as np
import pytest
import torch

from truehessian.lanczos import (
    orthogonality,
    probe_vector,
    relative_errors,
    ritz,
    ritz_vectors,
    tridiagonalise,
    tridiagonalise_block,
)

SPECTRA = {
    "linear": np.linspace(-1, 1, 40),
    "far outlier": np.append(np.linspace(-1, 1, 39), 1e9),
    "repeated": np.repeat([-2.0, 0.0, 0.5, 3.0], 10),
    "geometric": np.concatenate([-np.geomspace(1e-6, 1, 20), np.geomspace(1e-6, 30, 20)]),
}


def matrix_with(values: np.ndarray, seed: int) -> torch.Tensor:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values),) * 2))
    return torch.from_numpy((rotation * values) @ rotation.T)


def row_by_row(matrix: torch.Tensor):
    """Products whose bits do not depend on how many vectors share them."""
    return lambda block: torch.stack([matrix.mv(row) for row in block])


def same_bits(one, other) -> bool:
    return (
        np.array_equal(one.diagonal, other.diagonal)
        and np.array_equal(one.off_diagonal, other.off_diagonal)
        and one.last_off_diagonal == other.last_off_diagonal
        and torch.equal(one.basis, other.basis)
    )


@pytest.fixture(params=SPECTRA)
def values(request):
    return SPECTRA[request.param]


@pytest.fixture(params=[0, 1, 2])
def matrix(values, request):
    return matrix_with(values, request.param)


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_quadrature_reproduces_the_first_moments(matrix, num_steps):
    """m Ritz nodes integrate every polynomial of degree below 2m exactly (Gauss)."""
    start = probe_vector(len(matrix), seed=3)
    result = ritz(tridiagonalise(matrix.mv, start, num_steps))
    scale = torch.linalg.matrix_norm(matrix, 2).item()

    power = start / start.dot(start)
    for degree in range(2 * num_steps):
        moment = start.dot(power).item()
        assert result.weights @ result.values**degree == pytest.approx(
            moment, rel=1e-10, abs=1e-10 * scale**degree
        )
        power = matrix @ power


def test_recurrence_holds_and_basis_is_orthonormal(matrix):
    run = tridiagonalise(matrix.mv, probe_vector(len(matrix), 0), len(matrix) // 2)
    jacobi = np.diag(run.diagonal) + np.diag(run.off_diagonal, 1) + np.diag(run.off_diagonal, -1)
    basis = run.basis.numpy()
    assert orthogonality(run) < 1e-13
    remainder = basis @ matrix.numpy() @ basis.T - jacobi
    assert np.abs(remainder).max() < 1e-12 * np.abs(matrix.numpy()).max() * len(matrix)


def test_full_order_gives_the_distinct_eigenvalues(matrix, values):
    result = ritz(tridiagonalise(matrix.mv, probe_vector(len(matrix), 1), len(matrix)))
    scale = np.abs(values).max()
    for value in np.unique(values):
        assert np.abs(result.values - value).min() < 1e-12 * scale
    heavy = result.values[result.weights > 1e-6]
    assert all(np.abs(values - value).min() < 1e-9 * scale for value in heavy)


DEGENERATE = {
    "repeated": np.repeat([-2.0, 0.0, 0.5, 3.0], 10),
    "zero": np.zeros(7),
    "identity": np.ones(7),
    "rank one": np.array([0.0] * 39 + [5.0]),
    "rank one, negative and tiny": np.array([0.0] * 39 + [-1e-12]),
    "repeated far outlier": np.array([-1.0] * 20 + [2.0] * 18 + [1e9] * 2),
    "of order one": np.array([-3.0]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exhausted_krylov_space_ends_early_with_the_eigenvalues(name, dtype):
    """As many steps as distinct eigenvalues, though all P are asked for, and their weights."""
    values = DEGENERATE[name]
    distinct = np.unique(values)
    diagonal = torch.from_numpy(values).to(dtype)
    start = probe_vector(len(values), 0)
    run = tridiagonalise(diagonal.mul, start, len(values), dtype=dtype)
    result = ritz(run)
    eps = torch.finfo(dtype).eps
    precision = 20 * eps * np.abs(values).max()
    for value in distinct:
        assert np.abs(result.values - value).min() <= precision
    # Rounding may add values of no weight, but none elsewhere.
    heavy = result.values[result.weights > 1e-6]
    assert np.abs(heavy[:, None] - distinct).min(1).max() <= precision
    assert all(np.isfinite(part).all() for part in result)
    assert orthogonality(run) < 1e3 * eps
    gaps = np.diff(distinct)
    sharpness = precision / gaps[gaps > precision].min(initial=np.inf)  # of eigenvectors
    for value in distinct:
        near = np.abs(values - value) <= precision
        expected = (start[near] ** 2).sum() / start.dot(start)
        weight = result.weights[np.abs(result.values - value) <= precision].sum()
        assert weight == pytest.approx(expected.item(), abs=20 * eps + sharpness)
    if dtype == torch.float64:
        # Beside 1e9 rounding errors look like directions: the recurrence starts again, no harm.
        assert run.num_steps <= (2 if "outlier" in name else 1) * len(distinct)
        assert run.last_off_diagonal == 0


@pytest.mark.parametrize("seed", range(3))
def test_full_order_with_a_far_outlier_is_the_whole_spectrum(seed):
    """At m = P all eigenvalues come out once, the small ones to the rounding of the large one."""
    values = SPECTRA["far outlier"]
    matrix = matrix_with(values, seed)
    run = tridiagonalise(matrix.mv, probe_vector(40, seed), 40)
    assert np.isfinite(ritz(run).values).all()
    assert orthogonality(run) < 1e-13
    found = ritz(run).values
    assert np.abs(found[:, None] - np.linalg.eigvalsh(matrix.numpy())).min(1).max() < 1e-6


def test_residuals_bound_the_distance_to_an_eigenvalue(matrix, values):
    run = tridiagonalise(matrix.mv, probe_vector(len(matrix), 0), 12)
    result = ritz(run)
    distance = np.abs(result.values[:, None] - values).min(1)
    assert (distance <= result.residuals + 1e-12 * np.abs(values).max()).all()


def test_ritz_vectors_have_the_stated_residuals(matrix):
    run = tridiagonalise(matrix.mv, probe_vector(len(matrix), 0), 12)
    result = ritz(run)
    columns = [0, 1, -1]
    vectors = ritz_vectors(run, columns)
    residual = vectors @ matrix - torch.from_numpy(result.values[columns])[:, None] * vectors
    np.testing.assert_allclose(
        residual.norm(dim=1), result.residuals[columns], atol=1e-11 * matrix.abs().max().item()
    )


def test_float32_products_keep_a_basis_orthogonal_to_float32():
    matrix = matrix_with(SPECTRA["geometric"], 0).float()
    run = tridiagonalise(matrix.mv, probe_vector(40, 0), 40, dtype=torch.float32)
    assert run.basis.dtype == torch.float32
    assert orthogonality(run) < 5e-7


def test_probes_differ_and_repeat():
    assert torch.equal(probe_vector(9, 4, 1), probe_vector(9, 4, 1))
    assert not torch.equal(probe_vector(9, 4, 1), probe_vector(9, 4, 2))
    assert not torch.equal(probe_vector(9, 4, 1), probe_vector(9, 5, 1))


def test_nan_in_a_product_names_the_step():
    with pytest.raises(FloatingPointError, match="step 1"):
        tridiagonalise(lambda v: v * float("nan"), probe_vector(5, 0), 3)


@pytest.mark.parametrize("num_steps", [0, 6])
def test_impossible_step_counts_are_refused(num_steps):
    with pytest.raises(ValueError, match=r"1 \.\. 5"):
        tridiagonalise(torch.zeros_like, probe_vector(5, 0), num_steps)


def test_tolerance_stops_early_with_the_stated_accuracy(matrix, values):
    run = tridiagonalise(
        matrix.mv, probe_vector(len(matrix), 0), len(matrix), tolerance=1e-6, ends=["largest"]
    )
    assert run.num_steps < len(matrix)
    assert ritz(run).values[-1] == pytest.approx(values.max(), rel=1e-6)


@pytest.mark.parametrize("num_steps", range(2, 14))
def test_error_estimates_are_of_the_order_of_the_error_at_least(matrix, values, num_steps):
    result = ritz(tridiagonalise(matrix.mv, probe_vector(len(matrix), 0), num_steps))
    estimates = relative_errors(result)
    for end, place, exact in (("largest", -1, values.max()), ("smallest", 0, values.min())):
        # Before it has settled a Ritz value may belong to another eigenvalue further in.
        if estimates[end] < 0.01:
            error = abs((result.values[place] - exact) / result.values[place])
            assert error <= 3 * estimates[end] + 1e-13


@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_recurrences_in_lockstep_have_the_bits_of_runs_of_their_own(matrix, tolerance):
    starts = [probe_vector(len(matrix), 0, probe) for probe in range(3)]
    together = tridiagonalise_block(row_by_row(matrix), starts, 20, tolerance=tolerance)
    for start, run in zip(starts, together, strict=True):
        assert same_bits(run, tridiagonalise(matrix.mv, start, 20, tolerance=tolerance))


def test_products_in_lockstep_are_made_of_unfinished_recurrences_only():
    """Starts of which A has two, five and one eigenvectors leave after so many steps."""
    diagonal = torch.arange(1.0, 7.0, dtype=torch.float64)
    starts = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]]).double()
    sizes = []

    def matmat(block):
        sizes.append(len(block))
        return block * diagonal

    runs = tridiagonalise_block(matmat, starts, 6)
    assert sizes == [3, 2, 1, 1, 1]
    assert [run.num_steps for run in runs] == [2, 5, 1]
    for run, values in zip(runs, ([1, 2], [1, 2, 3, 4, 5], [6]), strict=True):
        np.testing.assert_allclose(ritz(run).values, values, rtol=1e-13)


def test_impossible_blocks_are_refused():
    starts = [probe_vector(5, 0, probe) for probe in range(2)]
    with pytest.raises(ValueError, match=r"shape of the vectors, \(2, 5\), got \(5, 2\)"):
        tridiagonalise_block(lambda block: block.T, starts, 3)
    with pytest.raises(ValueError, match="at least one vector"):
        tridiagonalise_block(lambda block: block, [], 3)
    with pytest.raises(ValueError, match="one journal per start, got 0 for 2"):
        tridiagonalise_block(lambda block: block, starts, 3, journals=[])
