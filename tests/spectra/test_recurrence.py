"""A killed Lanczos run goes on and ends with the same bits."""

import contextlib
import logging

import pytest
import torch
from test_lanczos import SPECTRA, matrix_with, row_by_row, same_bits

from truehessian.spectra.lanczos import (
    Tridiagonalisation,
    probe_vector,
    ritz,
    tridiagonalise,
    tridiagonalise_block,
)
from truehessian.spectra.recurrence import Journal

MATRIX = matrix_with(SPECTRA["geometric"], 0)
START = probe_vector(40, 0)


class KilledError(Exception):
    """Stands for the end of the process."""


def killed_after(products: int, matrix: torch.Tensor = MATRIX):
    done = 0

    def matvec(vector):
        nonlocal done
        if done == products:
            raise KilledError
        done += 1
        return matrix.mv(vector)

    return matvec


def run(folder, matvec=MATRIX.mv, **arguments) -> Tridiagonalisation:
    return tridiagonalise(matvec, START, 12, journal=Journal(folder, interval=0), **arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path, dtype):
    matrix = MATRIX.to(dtype)
    undisturbed = tridiagonalise(matrix.mv, START, 12, dtype=dtype)
    for products in (1, 3, 1, 2):  # the first of them is to see that the matrix is the same
        with pytest.raises(KilledError):
            run(tmp_path, killed_after(products, matrix), dtype=dtype)
    assert same_bits(run(tmp_path, matrix.mv, dtype=dtype), undisturbed)


def test_what_is_known_of_the_errors_of_products_is_resumed_too(tmp_path):
    """Products that are rounded to multiples of 1/64."""
    coarse = lambda vector: (MATRIX.mv(vector) * 64).round() / 64  # noqa: E731
    undisturbed = tridiagonalise(coarse, START, 12)
    assert undisturbed.product_error > 0.01
    half = tridiagonalise(coarse, START, 6, journal=Journal(tmp_path, interval=0))
    assert half.num_steps == 6
    again = run(tmp_path, coarse)
    assert same_bits(again, undisturbed)
    assert again.product_error == undisturbed.product_error


def test_a_recurrence_that_began_again_is_resumed_with_the_same_bits(tmp_path):
    """Three distinct eigenvalues: random vectors from the fourth step on."""
    diagonal = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).repeat_interleave(10)
    start = probe_vector(30, 0)
    undisturbed = tridiagonalise(diagonal.mul, start, 12)
    assert 0 in undisturbed.off_diagonal
    for products in (3, 2, 5):
        with pytest.raises(KilledError):
            tridiagonalise(
                killed_after(products, torch.diag(diagonal)),
                start,
                12,
                journal=Journal(tmp_path, interval=0),
            )
    again = tridiagonalise(diagonal.mul, start, 12, journal=Journal(tmp_path, interval=0))
    assert same_bits(again, undisturbed)


def test_finished_run_needs_one_product_to_see_that_the_matrix_is_the_same(tmp_path):
    first = run(tmp_path)
    assert same_bits(first, run(tmp_path, killed_after(1)))
    with pytest.raises(KilledError):
        run(tmp_path, killed_after(0))


# What a state may have been begun with that is not what it is gone on with.
OTHERS = {
    "another matrix": {"matvec": (2 * MATRIX).mv},
    "that of the next epoch": {"matvec": (MATRIX + 0.3 * torch.eye(40)).mv},
    "another start": {"start": probe_vector(40, 1)},
    "another precision": {"matvec": MATRIX.float().mv, "dtype": torch.float32},
    "another operator": {"matrix": "of the test split"},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("steps", [1, 5, 12])
def test_a_state_of_another_matrix_or_start_is_refused(tmp_path, name, steps):
    with contextlib.suppress(KilledError):
        run(tmp_path, killed_after(steps))
    assert list(tmp_path.iterdir())
    how = {"matvec": MATRIX.mv, "start": START, "matrix": ""} | OTHERS[name]
    journal = Journal(tmp_path, interval=0, matrix=how.pop("matrix"))
    with pytest.raises(ValueError, match=f"state in {tmp_path} was begun with another.*delete it"):
        tridiagonalise(how.pop("matvec"), how.pop("start"), 12, journal=journal, **how)


def test_the_same_matrix_rounded_otherwise_is_gone_on_with(tmp_path):
    """Another machine, or another number of threads: a part in a million."""
    with pytest.raises(KilledError):
        run(tmp_path, killed_after(5))
    assert run(tmp_path, ((1 + 1e-6) * MATRIX).mv).num_steps == 12


def test_convergence_is_resumed_too(tmp_path):
    first = run(tmp_path / "converged", tolerance=1e-2, ends=["largest"])
    assert first.num_steps < 12
    again = run(tmp_path / "converged", killed_after(1), tolerance=1e-2, ends=["largest"])
    assert same_bits(first, again)


def test_the_zero_matrix_is_known_as_soon_as_is_looked():
    result = tridiagonalise(torch.zeros_like, START, 12, tolerance=1e-2)
    assert result.num_steps == 4
    assert ritz(result).values.tolist() == ritz(result).residuals.tolist() == [0] * 4


def test_damaged_part_costs_its_own_steps_only(tmp_path, caplog):
    with pytest.raises(KilledError):
        run(tmp_path, killed_after(6))
    (part,) = tmp_path.glob("000003-*")
    part.write_bytes(part.read_bytes()[:-20])
    with caplog.at_level(logging.INFO):
        assert same_bits(run(tmp_path), tridiagonalise(MATRIX.mv, START, 12))
    assert "going on from step 3" in caplog.text
    assert "resumed after step 3" in caplog.text


def test_short_runs_write_nothing(tmp_path):
    tridiagonalise(MATRIX.mv, START, 12, journal=Journal(tmp_path / "state"))
    assert not (tmp_path / "state").exists()


def test_product_that_returns_its_argument_is_the_identity():
    result = tridiagonalise(lambda vector: vector, START, 3)
    assert result.diagonal == pytest.approx([1.0] * 3)
    assert result.off_diagonal.tolist() == [0, 0]


def test_recurrences_in_lockstep_go_on_from_wherever_each_had_come_to(tmp_path):
    starts = [probe_vector(40, 0, probe) for probe in range(3)]
    undisturbed = tridiagonalise_block(row_by_row(MATRIX), starts, 12)
    for probe, products in enumerate((2, 5)):  # the third has noted nothing
        with pytest.raises(KilledError):
            tridiagonalise(
                killed_after(products),
                starts[probe],
                12,
                journal=Journal(tmp_path / str(probe), interval=0),
            )
    calls = []

    def matmat(block):
        calls.append(len(block))
        return row_by_row(MATRIX)(block)

    journals = [Journal(tmp_path / str(probe), interval=0) for probe in range(3)]
    runs = tridiagonalise_block(matmat, starts, 12, journals=journals)
    assert calls == [2] + [3] * 7 + [2] * 3 + [1] * 2  # the first two again, then all
    assert all(same_bits(run, other) for run, other in zip(runs, undisturbed, strict=True))
