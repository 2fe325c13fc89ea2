"""Orthogonalisation slab by slab does what a dense projection does."""

import numpy as np
import pytest
import torch

from truehessian.spectra import orthogonalise as gram_schmidt
from truehessian.spectra.lanczos import Tridiagonalisation, orthogonality, ritz, ritz_vectors
from truehessian.spectra.orthogonalise import (
    Taken,
    finish,
    orthogonalise,
    project,
    raised,
    working_copy,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture(params=["slabs", "whole"])
def basis(monkeypatch, dtype, request):
    """Eight orthonormal rows that take three slabs, the last one shorter, or are copied whole."""
    monkeypatch.setattr(gram_schmidt, "_WORKING_COPY", {"cpu": 8 * 8 * 1000})
    if request.param == "slabs":
        monkeypatch.setattr(gram_schmidt, "_WHOLE_COPY", {"cpu": 8 * 8 * 1000})
    square = torch.randn(2300, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(square).Q.T.contiguous().to(dtype)


@DTYPES
def test_slabs_cover_the_basis_in_double_precision(basis):
    slabs = [(columns, rows.clone()) for columns, rows in raised(basis)]
    assert [rows.shape[1] for _, rows in slabs] == [1000, 1000, 300]
    assert all(torch.equal(rows, basis[:, columns].double()) for columns, rows in slabs)
    assert torch.equal(torch.cat([rows for _, rows in slabs], 1), basis.double())


@DTYPES
def test_what_is_left_is_orthogonal_even_of_a_vector_almost_inside(basis):
    """Components 1e8 times as large as the rest: once would leave 1e-8, twice does not."""
    original = basis.clone()
    outside = torch.zeros(2300, dtype=torch.float64)
    outside[::2] = 1.0
    outside -= (basis.double() @ outside) @ basis.double()
    coefficients = 1e8 * torch.arange(1.0, 9.0, dtype=torch.float64)
    image = coefficients @ basis.double() + outside
    expected = image - (image @ torch.linalg.pinv(basis.double())) @ basis.double()

    removed = orthogonalise(image, basis)
    assert removed.last == pytest.approx(8e8, rel=1e-6)
    squares = [1e8**2 * k**2 for k in range(1, 7)]
    assert removed.earlier == pytest.approx(sum(squares), rel=1e-6)
    assert removed.typical == pytest.approx(squares[2], rel=1e-6)  # the lower of both in the middle
    loss = (basis.double() @ image).abs().max() / image.norm()
    assert loss < {torch.float32: 1e-5, torch.float64: 1e-13}[basis.dtype]
    assert (image - expected).norm() < {torch.float32: 1e-3, torch.float64: 1e-5}[basis.dtype]
    assert torch.equal(basis, original)


@DTYPES
@pytest.mark.parametrize("seed", range(3))
def test_once_is_enough_only_where_little_was_taken_along_earlier_rows(basis, seed):
    """The last two rows may have been large in it; what was large along others is taken twice."""
    generator = torch.Generator().manual_seed(seed)
    outside = torch.randn(2300, generator=generator, dtype=torch.float64)
    outside -= torch.linalg.pinv(basis.double()) @ (basis.double() @ outside)
    for earlier in (0.0, 1e-7, 1e-2, 1.0, 1e3):
        components = torch.tensor([earlier] * 6 + [3.0, -40.0], dtype=torch.float64)
        image = outside / outside.norm() + components @ basis.double()
        numbers = project(image.unsqueeze(0), [basis], working_copy([basis]))
        taken = Taken.of(numbers[0].numpy())
        assert taken.is_orthogonal == (earlier < 1e-3)
        removed = finish(image, basis, taken)
        assert removed.last == pytest.approx(-40.0, rel=1e-9)
        assert removed.left == pytest.approx(image.norm().item(), rel=1e-14)
        loss = (basis.double() @ image).abs().max().item() / removed.left
        assert loss < {torch.float32: 1e-9, torch.float64: 1e-15}[basis.dtype]


@DTYPES
def test_ritz_vectors_and_orthogonality_go_through_all_slabs(basis):
    run = Tridiagonalisation(np.arange(8.0), np.ones(7), 0.5, basis)
    expected = torch.from_numpy(ritz(run).coefficients[:, [0, -1]].T.copy()) @ basis.double()
    assert torch.allclose(ritz_vectors(run, [0, -1]), expected, atol=1e-6)
    gram = basis.double() @ basis.double().T
    loss = (gram - torch.eye(8, dtype=torch.float64)).abs().max().item()
    assert orthogonality(run) == pytest.approx(loss, abs=1e-15)


def dtype_of(basis: torch.Tensor) -> torch.dtype:
    return basis.dtype
