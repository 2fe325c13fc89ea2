"""Bases lie where there is room for them, and results do not depend on where that is."""

import errno
import logging
import os

import pytest
import torch
from test_lanczos import SPECTRA, matrix_with, row_by_row, same_bits

from truehessian.spectra import bases as placement
from truehessian.spectra.lanczos import (
    orthogonality,
    probe_vector,
    ritz_vectors,
    tridiagonalise,
    tridiagonalise_block,
)
from truehessian.spectra.recurrence import Journal

HOST = torch.device("cpu")
MATRIX = matrix_with(SPECTRA["geometric"], 0)
START = probe_vector(40, 0)
SIZE = 12 * 40 * 8


@pytest.mark.parametrize(("budget", "place"), [(SIZE, "cpu"), (SIZE - 1, "disk")])
def test_budget_is_kept_to_the_byte(tmp_path, budget, place, caplog):
    with caplog.at_level(logging.INFO):
        (basis,) = placement.allocate((1, 12, 40), torch.float64, HOST, budget, tmp_path)
    assert basis.shape == (12, 40)
    assert placement.place_of(basis) == placement.place_of(basis[:3]) == place
    words = {"cpu": "in host memory", "disk": "on disk"}[place]
    assert f"basis: 12 x 40 x 8 B = 3.8 kB, {words} (allowed: 3.8 kB in host" in caplog.text


def test_budget_is_for_all_bases_together(tmp_path):
    bases = placement.allocate((2, 12, 40), torch.float64, HOST, 2 * SIZE - 1, tmp_path)
    assert [placement.place_of(basis) for basis in bases] == ["disk"] * 2
    bases[0].fill_(1.0)
    bases[1].fill_(2.0)
    assert bases[0].eq(1).all()


def test_basis_too_large_for_a_gpu_lies_in_host_memory():
    """Asking for no room on the GPU needs none, so that this runs without one."""
    (basis,) = placement.allocate((1, 3, 5), torch.float32, torch.device("cuda"), 0)
    assert placement.place_of(basis) == "cpu"


def test_basis_that_fits_nowhere_is_refused_before_any_product(tmp_path):
    message = (
        r"basis of 2 probes x 50 x 1000.0 T x 8 B = .* TB fits nowhere \(allowed: 1.0 kB in host "
        r"memory, .* on disk\); take fewer steps or probes, raise basis_memory"
    )
    with pytest.raises(MemoryError, match=message):
        placement.allocate((2, 50, 10**15), torch.float64, HOST, 1000, tmp_path)


def test_files_have_no_name_while_they_are_in_use(tmp_path):
    (basis,) = placement.allocate((1, 3, 5), torch.float32, HOST, 0, tmp_path / "new")
    basis.fill_(7.0)
    assert basis.sum() == 105
    assert list((tmp_path / "new").iterdir()) == []


def test_disk_that_fills_up_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MemoryError, match=r"no room for a basis in .*: .*No space left"):
        placement.allocate((1, 3, 5), torch.float32, HOST, 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_basis_on_disk_gives_the_bits_of_one_in_memory(tmp_path, dtype):
    matrix = MATRIX.to(dtype)
    near = tridiagonalise(matrix.mv, START, 12, dtype=dtype)
    far = tridiagonalise(matrix.mv, START, 12, dtype=dtype, basis_memory=0, scratch=tmp_path)
    assert placement.place_of(near.basis) == "cpu"
    assert placement.place_of(far.basis) == "disk"
    assert same_bits(near, far)
    assert torch.equal(ritz_vectors(near, [0, -1]), ritz_vectors(far, [0, -1]))
    assert orthogonality(near) == orthogonality(far)


def test_run_goes_on_in_another_place(tmp_path):
    def half(vector):
        if len(list((tmp_path / "state").glob("*"))) == 6:
            raise KeyboardInterrupt
        return MATRIX.mv(vector)

    journal = {"journal": Journal(tmp_path / "state", interval=0)}
    with pytest.raises(KeyboardInterrupt):
        tridiagonalise(half, START, 12, **journal)
    moved = {"basis_memory": 0, "scratch": tmp_path / "scratch"}
    run = tridiagonalise(MATRIX.mv, START, 12, **journal, **moved)
    assert placement.place_of(run.basis) == "disk"
    assert same_bits(run, tridiagonalise(MATRIX.mv, START, 12))


@pytest.mark.gpu
def test_host_and_gpu_agree_to_rounding():
    starts = [probe_vector(40, 0, probe) for probe in range(2)]
    products = row_by_row(MATRIX.cuda())
    runs = {
        place: tridiagonalise_block(products, starts, 12, device="cuda", basis_memory=memory)
        for place, memory in {"cuda": None, "cpu": 0}.items()
    }
    for place, (first, _) in runs.items():
        assert placement.place_of(first.basis) == place
    for near, far in zip(runs["cuda"], runs["cpu"], strict=True):
        assert far.diagonal == pytest.approx(near.diagonal, abs=1e-10)
        assert far.basis.numpy() == pytest.approx(near.basis.cpu().numpy(), abs=1e-10)
