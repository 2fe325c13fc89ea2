"""A killed Lanczos run goes on and ends with the same bits."""

import logging

import numpy as np
import pytest
import torch
from test_lanczos import SPECTRA, matrix_with

from truehessian.lanczos import Tridiagonalisation, probe_vector, tridiagonalise
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


def same_bits(one: Tridiagonalisation, other: Tridiagonalisation) -> bool:
    return (
        np.array_equal(one.diagonal, other.diagonal)
        and np.array_equal(one.off_diagonal, other.off_diagonal)
        and one.last_off_diagonal == other.last_off_diagonal
        and torch.equal(one.basis, other.basis)
    )


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
