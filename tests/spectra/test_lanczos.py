"""Lanczos on matrices whose spectra are known."""

import numpy as np
import pytest
import torch

from truehessian.spectra.bases import place_of
from truehessian.spectra.lanczos import (
    Ritz,
    orthogonality,
    probe_vector,
    relative_errors,
    ritz,
    ritz_vectors,
    tridiagonalise,
    tridiagonalise_block,
    tridiagonalise_each,
)
from truehessian.spectra.ritz import converged

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
def test_full_order_finds_repeated_eigenvalues_as_often_as_they_are_there(name, dtype):
    """The Krylov space of one start has each once; the recurrence goes on, and weighs no more."""
    values = np.sort(DEGENERATE[name])
    distinct = np.unique(values)
    diagonal = torch.from_numpy(values).to(dtype)
    start = probe_vector(len(values), 0)
    run = tridiagonalise(diagonal.mul, start, len(values), dtype=dtype)
    result = ritz(run)
    eps = torch.finfo(dtype).eps
    precision = 40 * eps * np.abs(values).max()
    assert np.abs(result.values - values).max() <= precision
    assert all(np.isfinite(part).all() for part in result[:4])
    assert orthogonality(run) < 1e3 * eps
    gaps = np.diff(distinct)
    sharpness = precision / gaps[gaps > precision].min(initial=np.inf)  # of eigenvectors
    for value in distinct:
        near = np.abs(values - value) <= precision
        expected = (start[near] ** 2).sum() / start.dot(start)
        weight = result.weights[np.abs(result.values - value) <= precision].sum()
        assert weight == pytest.approx(expected.item(), abs=20 * eps + sharpness)
    # All is known to rounding, and to no more than that.
    assert (result.residuals >= eps * np.abs(values).max()).all()
    assert (result.residuals <= precision).all()


def test_repeated_extremes_take_as_many_ranks_when_steps_allow():
    """After three steps one copy of each of three eigenvalues is known; the next ones follow."""
    values = np.repeat([-1.0, 0.5, 4.0], [3, 30, 2])
    run = tridiagonalise(matrix_with(values, 0).mv, probe_vector(35, 0), 12)
    assert np.sort(ritz(run).values)[[0, 1, 2, -2, -1]] == pytest.approx([-1, -1, -1, 4, 4])


def test_a_start_that_is_almost_an_eigenvector_finds_the_others():
    """What is left of the first product is small, 1e-9 of it, and no rounding."""
    diagonal = torch.linspace(1, 2, 30, dtype=torch.float64)
    start = torch.zeros(30, dtype=torch.float64)
    start[7], start[8:] = 1.0, 1e-9
    run = tridiagonalise(diagonal.mul, start, 23)
    assert ritz(run).values == pytest.approx(diagonal[7:].numpy(), abs=1e-7)
    assert ritz(run).weights.max() == pytest.approx(1, abs=1e-12)


FAR = {
    **{f"{size:g}": [size, *np.linspace(-1e3, 1e3, 300)] for size in (1e6, 1e8, 1e10, 1e14)},
    "negative": [-1e10, *np.linspace(-1e3, 1e3, 300)],
    "both signs": [-1e9, 1e9, *np.linspace(-1e3, 1e3, 300)],
    "tiny rest": [1e10, *np.linspace(-1e-3, 1e-3, 300)],
    "positive rest": [1e10, *np.linspace(1, 2, 300)],
    "beyond double precision": [1e20, *np.linspace(-1e3, 1e3, 300)],
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rotated", [False, True])
def test_claims_beside_a_far_outlier_hold(name, dtype, rotated):
    """Whatever rounding leaves of the rest, errors that are stated are as large as those made."""
    values = np.sort(FAR[name])
    matrix = matrix_with(values, 0) if rotated else torch.diag(torch.from_numpy(values))
    rounded = matrix.to(dtype)
    run = tridiagonalise(
        lambda v: rounded.mv(v).double(), probe_vector(len(values), 0), 45, dtype=dtype
    )
    result = ritz(run)
    scale = np.abs(values).max()
    assert run.num_steps == 45
    assert (result.residuals >= torch.finfo(dtype).eps * scale).all()
    distance = np.abs(result.values[:, None] - values).min(1)
    assert (distance <= result.residuals).all()
    errors = relative_errors(result)
    for end, place in (("largest", -1), ("smallest", 0)):
        off = abs(result.values[place] - values[place])
        assert errors[end] == np.inf or off <= max(2 * errors[end], 0.02) * abs(values[place])
    # The far end is known in any case, and in single precision up to 1e6 the near one, too.
    known = [errors["largest"] if values[-1] == scale else errors["smallest"]]
    if (dtype == torch.float64 and scale <= 1e14) or scale <= 1e6:
        known += errors.values()
    assert max(known) < 0.05


@pytest.mark.parametrize("noise", [1e-2, 1e-5, 1e-12])
def test_errors_of_products_are_seen_in_what_is_orthogonalised_away(noise):
    """Errors in random directions, from a hundredth of the norm to less than any roundoff."""
    generator = torch.Generator().manual_seed(0)
    diagonal = torch.linspace(-1, 1, 3000)

    def product(vector):
        error = torch.randn(3000, generator=generator, dtype=torch.float64)
        return vector.double() * diagonal + noise * error / error.norm()

    run = tridiagonalise(product, probe_vector(3000, 0), 30, dtype=torch.float32)
    least = max(noise, 16 * 1.19e-7)
    assert 0.8 * least <= run.product_error <= 2 * least
    assert ritz(run).residuals.min() >= run.product_error


def test_errors_within_the_space_of_the_basis_are_not_taken_for_more_than_they_are():
    """Errors along one eigenvector, of random sign: √P times too large were they spread out."""
    generator = torch.Generator().manual_seed(0)
    diagonal = torch.linspace(-1, 1, 3000, dtype=torch.float64)
    diagonal[-1] = 10.0

    def product(vector):
        image = vector * diagonal
        image[-1] += 1e-3 * torch.randn(1, generator=generator, dtype=torch.float64).item()
        return image

    run = tridiagonalise(product, probe_vector(3000, 0), 30)
    assert 1e-4 <= run.product_error <= 2e-3


def test_products_that_come_back_in_single_precision_are_known_no_better():
    diagonal = torch.linspace(-1, 1, 50)
    run = tridiagonalise(lambda v: diagonal * v.float(), probe_vector(50, 0), 20)
    assert run.product_error >= 1.19e-7


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


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bases_stay_orthogonal_whatever_errors_products_have(noise, dtype):
    """To the rounding of their entries, as if each vector were projected twice against all."""
    generator = torch.Generator().manual_seed(0)
    diagonal = torch.cat([torch.linspace(-1, 1, 495), torch.tensor([1e1, 1e2, 1e3, 1e4, 1e5])])

    def product(vector):
        error = torch.randn(500, generator=generator, dtype=torch.float64)
        return vector.double() * diagonal + noise * error

    run = tridiagonalise(product, probe_vector(500, 0), 120, dtype=dtype)
    rows, twice = run.basis.double(), []
    for row in rows:
        before = torch.stack(twice).double() if twice else rows[:0]
        for _ in range(2):
            row = row - (before @ row) @ before
        twice.append((row / row.norm()).to(dtype))
    exact = torch.stack(twice)
    gram = exact.double() @ exact.double().T
    reference = (gram - torch.eye(120, dtype=torch.float64)).abs().max().item()
    assert orthogonality(run) < 1.5 * reference + 1e-15


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


@pytest.mark.parametrize("ranks", [1, 3, 5])
def test_tolerance_is_about_so_many_ranks_of_both_ends(ranks):
    values = np.sort(SPECTRA["geometric"])
    matrix = matrix_with(values, 0)
    how = {"tolerance": 1e-8, "ranks": ranks}
    run = tridiagonalise(matrix.mv, probe_vector(40, 0), 40, **how)
    found = ritz(run).values
    for end, scale in (("largest", 30.0), ("smallest", 1.0)):
        order = np.s_[:ranks] if end == "smallest" else np.s_[-ranks:]
        assert np.abs(found[order] - values[order]).max() <= 1e-8 * scale
    fewer = tridiagonalise(matrix.mv, probe_vector(40, 0), run.num_steps - 4, **how)
    assert fewer.num_steps == run.num_steps - 4  # it had not converged before


@pytest.mark.parametrize(("residual", "known"), [(5e-4, True), (5e-3, False)])
def test_a_value_that_may_be_two_has_not_converged(residual, known):
    """Within r² / gap of 1e-5 either way, but the larger residual is a twentieth of the gap."""
    values = np.array([0.0, 1.0, 2.0, 1000.0, 1000.1])
    result = Ritz(values, np.full(5, 0.2), np.full(5, residual), np.eye(5))
    assert converged(result, "largest", 1, tolerance=1e-5) is known


def test_no_tolerance_asks_for_more_than_the_products_give():
    """The smallest end is 1e-8 of the norm: single precision never knows it."""
    values = np.concatenate([np.linspace(-1e-8, 1e-8, 38), [0.5, 1.0]])
    matrix = matrix_with(values, 0).float()
    run = tridiagonalise(matrix.mv, probe_vector(40, 0), 40, dtype=torch.float32, tolerance=1e-6)
    assert run.num_steps <= 12
    assert relative_errors(ritz(run))["smallest"] == np.inf


def test_a_single_ritz_value_is_an_eigenvalue_but_which():
    matrix = matrix_with(SPECTRA["linear"] + 10, 0)
    first = ritz(tridiagonalise(matrix.mv, probe_vector(40, 0), 1))
    assert relative_errors(first) == {"largest": np.inf, "smallest": np.inf}
    known = ritz(tridiagonalise(lambda vector: 3 * vector, probe_vector(40, 0), 1))
    assert max(relative_errors(known).values()) < 1e-14


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
    matrix = matrix_with(SPECTRA["geometric"], 0)
    top = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    starts = [probe_vector(40, 0), top + 1e-6 * probe_vector(40, 1), probe_vector(40, 2)]
    how = {"tolerance": 1e-6, "ends": ["largest"]}
    alone = [tridiagonalise(matrix.mv, start, 20, **how).num_steps for start in starts]
    sizes = []

    def matmat(block):
        sizes.append(len(block))
        return row_by_row(matrix)(block)

    runs = tridiagonalise_block(matmat, starts, 20, **how)
    assert [run.num_steps for run in runs] == alone
    assert sizes == [sum(step < steps for steps in alone) for step in range(max(alone))]
    assert len(set(alone)) > 1


def test_impossible_blocks_are_refused():
    starts = [probe_vector(5, 0, probe) for probe in range(2)]
    with pytest.raises(ValueError, match=r"shape of the vectors, \(2, 5\), got \(5, 2\)"):
        tridiagonalise_block(lambda block: block.T, starts, 3)
    with pytest.raises(ValueError, match="at least one vector"):
        tridiagonalise_block(lambda block: block, [], 3)
    with pytest.raises(ValueError, match="one journal per start, got 0 for 2"):
        tridiagonalise_block(lambda block: block, starts, 3, journals=[])


def test_recurrences_of_several_matrices_go_on_together_as_each_would_alone():
    """Matrices of any orders, steps of any number: the bits of runs of their own."""
    matrices = [matrix_with(values, 0) for values in SPECTRA.values()] + [torch.eye(1).double()]
    starts = [probe_vector(len(matrix), 1, number) for number, matrix in enumerate(matrices)]
    steps = [7, 40, 12, 30, 1]
    asked = []

    def multiply(vectors):
        asked.append(list(vectors))
        return [matrices[number] @ vector for number, vector in vectors.items()]

    runs = tridiagonalise_each(multiply, starts, steps, tolerance=1e-3)
    for run, matrix, start, most in zip(runs, matrices, starts, steps, strict=True):
        assert same_bits(run, tridiagonalise(matrix.mv, start, most, tolerance=1e-3))
    done = [run.num_steps for run in runs]
    assert asked == [[i for i, own in enumerate(done) if own > step] for step in range(max(done))]
    assert len(set(done)) > 2


def test_the_bases_of_several_matrices_take_the_sum_of_their_own_numbers(tmp_path):
    matrices = [matrix_with(np.arange(order) + 1.0, 0) for order in (30, 3, 8)]
    starts = [torch.ones(len(matrix), dtype=torch.float64) for matrix in matrices]
    needed = 8 * (4 * 30 + 3 * 3 + 4 * 8)
    for budget, place in ((needed, "cpu"), (needed - 1, "disk")):
        runs = tridiagonalise_each(
            lambda vectors: [matrices[number] @ vector for number, vector in vectors.items()],
            starts,
            [4, 3, 4],
            basis_memory=budget,
            scratch=tmp_path,
        )
        assert {place_of(run.basis) for run in runs} == {place}
        assert [tuple(run.basis.shape) for run in runs] == [(4, 30), (3, 3), (4, 8)]
