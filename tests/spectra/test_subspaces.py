"""The overlap of two subspaces by its definition, and by chance."""

import numpy as np
import pytest

from truehessian.spectra import subspaces


def orthonormal(count, size, seed):
    draw = np.random.default_rng(seed).normal(size=(size, count))
    return np.linalg.qr(draw)[0].T


@pytest.fixture(params=[2**18, 7])
def slabs(request, monkeypatch):
    monkeypatch.setattr(subspaces, "_COLUMNS", request.param)


@pytest.mark.usefixtures("slabs")
def test_it_is_the_trace_of_the_product_of_both_projections():
    first, second = orthonormal(3, 20, 0), orthonormal(3, 20, 1)
    p, q = first.T @ first, second.T @ second
    expected = np.trace(p @ q) / np.sqrt(np.trace(p) * np.trace(q))
    assert subspaces.overlap(first, second) == pytest.approx(expected, abs=1e-12)


def test_one_subspace_by_other_vectors_is_the_same_and_orthogonal_ones_have_none():
    first, turn = orthonormal(4, 30, 2), orthonormal(4, 4, 3)
    assert subspaces.overlap(first, turn @ first) == pytest.approx(1)
    assert subspaces.overlap(first[:2], first[2:]) == pytest.approx(0, abs=1e-12)


def test_two_lines_overlap_by_the_square_of_the_cosine():
    angle = 0.3
    first, second = np.array([[1.0, 0.0]]), np.array([[np.cos(angle), np.sin(angle)]])
    assert subspaces.overlap(first, second) == pytest.approx(np.cos(angle) ** 2)


def test_random_subspaces_overlap_by_chance():
    found = [
        subspaces.overlap(orthonormal(3, 40, 2 * seed), orthonormal(3, 40, 2 * seed + 1))
        for seed in range(300)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - subspaces.of_chance(3, 40)) < 5 * error


@pytest.mark.usefixtures("slabs")
def test_float32_vectors_are_summed_in_float64():
    first = orthonormal(2, 5000, 5).astype(np.float32)
    assert subspaces.overlap(first, first) == pytest.approx(1, abs=1e-6)


def test_subspaces_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="as many vectors of one length"):
        subspaces.overlap(orthonormal(2, 9, 0), orthonormal(3, 9, 0))
