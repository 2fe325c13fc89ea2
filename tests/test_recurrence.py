"""A killed Lanczos run goes on and ends with the same bits."""

import logging

import pytest
import torch
from test_lanczos import SPECTRA, matrix_with, row_by_row, same_bits

from truehessian.lanczos import (
    Tridiagonalisation,
    probe_vector,
    tridiagonalise,
    tridiagonalise_block,
)
from truehessian.recurrence import Journal

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
    for products in (1, 3, 0, 2):
        with pytest.raises(KilledError):
            run(tmp_path, killed_after(products, matrix), dtype=dtype)
    assert same_bits(run(tmp_path, matrix.mv, dtype=dtype), undisturbed)


def test_finished_run_needs_no_product(tmp_path):
    first = run(tmp_path)
    assert same_bits(first, run(tmp_path, killed_after(0)))


def test_convergence_and_exhaustion_are_resumed_too(tmp_path):
    first = run(tmp_path / "converged", tolerance=1e-2, ends=["largest"])
    assert first.num_steps < 12
    again = run(tmp_path / "converged", killed_after(0), tolerance=1e-2, ends=["largest"])
    assert same_bits(first, again)
    exhausted = tridiagonalise(
        torch.zeros_like, START, 12, journal=Journal(tmp_path / "zero", interval=0)
    )
    assert exhausted.num_steps == 1


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
    assert result.diagonal == pytest.approx([1.0])
    assert result.last_off_diagonal == 0


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
    assert calls == [3] * 7 + [2] * 3 + [1] * 2
    assert all(same_bits(run, other) for run, other in zip(runs, undisturbed, strict=True))
