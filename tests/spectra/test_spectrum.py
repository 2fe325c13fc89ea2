"""Files and summaries of measured spectra."""

import numpy as np
import pytest
import torch

from truehessian.spectra import kernel, spectrum
from truehessian.spectra.lanczos import ritz, tridiagonalise
from truehessian.spectra.spectrum import Spectrum


def stack(folds: int = 2, probes: int = 2, steps: int = 4) -> Spectrum:
    generator = np.random.default_rng(0)
    values = np.sort(generator.normal(size=(folds, probes, steps)), -1)
    weights = generator.dirichlet(np.ones(steps), size=(folds, probes))
    return Spectrum(
        values,
        weights,
        generator.random(values.shape),
        generator.normal(size=values.shape),
        generator.random((folds, probes, steps - 1)),
        {"operator": "hessian", "epoch": 3},
        np.arange(folds * 5).reshape(folds, 5),
    )


def test_file_gives_back_what_was_saved_and_the_same_bytes(tmp_path):
    original = stack()
    for name in ("a.npz", "b.npz"):
        spectrum.save(tmp_path / name, original)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = spectrum.load(tmp_path / "a.npz")
    for mine, theirs in zip(original, loaded, strict=True):
        np.testing.assert_equal(mine, theirs)


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / "full.npz"
    spectrum.save(path, stack())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"full.npz is not a whole spectrum file"):
        spectrum.load(path)
    with pytest.raises(FileNotFoundError):
        spectrum.load(tmp_path / "missing.npz")


@pytest.mark.parametrize("end", spectrum.ENDS)
def test_extremes_are_over_probes_and_steps_with_their_own_residual(end):
    many = stack()
    value, residual = spectrum.extremal(many, end)
    best = np.max if end == "largest" else np.min
    np.testing.assert_array_equal(value, best(many.ritz_values, axis=(1, 2)))
    for fold in range(2):
        place = np.argwhere(many.ritz_values[fold] == value[fold])[0]
        assert residual[fold] == many.residuals[fold][tuple(place)]


def test_density_integrates_to_one_and_has_the_kernel_variance():
    grid = np.linspace(-10, 10, 4001)
    density = kernel.spectral_density(np.array([-1.0, 2.0]), np.array([0.25, 0.75]), grid, 0.3)
    step = grid[1] - grid[0]
    mean = (grid * density).sum() * step
    assert density.sum() * step == pytest.approx(1)
    assert mean == pytest.approx(1.25)
    spread = 0.25 * (-1 - 1.25) ** 2 + 0.75 * (2 - 1.25) ** 2 + 0.3**2
    assert ((grid - mean) ** 2 * density).sum() * step == pytest.approx(spread)


def test_wrong_density_arguments_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        kernel.spectral_density(np.zeros(2), np.zeros(3), np.zeros(1), 1.0)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        kernel.spectral_density(np.zeros(2), np.zeros(2), np.zeros(1), 0.0)


def of_rows(*rows, residuals=None, **metadata) -> Spectrum:
    """A spectrum of probes with these Ritz values, equal weights and residuals of 1e-6."""
    width = max(map(len, rows))
    values = np.array([np.append(row, np.full(width - len(row), np.nan)) for row in rows])
    found = np.isfinite(values)
    weights = np.where(found, 1 / found.sum(-1, keepdims=True), 0)
    if residuals is None:
        residuals = [np.full(len(row), 1e-6) for row in rows]
    padded = np.array([np.append(row, np.full(width - len(row), np.nan)) for row in residuals])
    return Spectrum(values, weights, padded, values, values[:, 1:], metadata)


def test_ranks_are_those_of_the_probe_in_which_each_lies_farthest_out():
    few = of_rows([-4.0, -1.0, 0.5, 3.0], [-3.9, -1.5, 0.2, 0.4, 2.0, 2.9])
    values, residuals = spectrum.ranked(few, "largest", 4)
    np.testing.assert_array_equal(values, [3.0, 2.0, 0.4, np.nan])
    np.testing.assert_array_equal(np.isnan(residuals), np.isnan(values))
    np.testing.assert_array_equal(spectrum.ranked(few, "smallest", 2)[0], [-4.0, -1.5])


def test_ranks_of_folds_are_missing_where_a_fold_has_too_few_values():
    folds = [of_rows([-4.0, -1.0, 0.5, 3.0]), of_rows([-2.0, 1.0])]
    arrays = [
        np.stack([np.pad(part, ((0, 0), (0, gap)), constant_values=filling)
                  for part, gap in zip(parts, (0, 2), strict=True)])
        for parts, filling in zip(zip(*(fold[:3] for fold in folds), strict=True),
                                  (np.nan, 0, np.nan), strict=True)
    ]  # fmt: skip
    stack = Spectrum(*arrays, arrays[0], arrays[0][..., 1:], {})
    values, errors = spectrum.ranked(stack, "largest", 2)
    np.testing.assert_array_equal(values, [[3.0, 0.5], [1.0, np.nan]])
    np.testing.assert_array_equal(np.isnan(errors), np.isnan(values))
    assert spectrum.extremal(stack, "smallest")[0].tolist() == [-4, -2]


def test_one_ritz_value_is_both_extremes():
    for end in spectrum.ENDS:
        assert spectrum.extremal(of_rows([2.0]), end) == (2.0, 1e-6)


def test_errors_of_ranks_reach_to_the_last_that_is_known():
    """From the third value on intervals overlap: an eigenvalue may be missing anywhere below 8."""
    few = of_rows([0.0, 5.0, 5.9, 6.0, 8.0, 10.0], residuals=[[0.5, 0.7, 0.4, 0.3, 1e-3, 1e-4]])
    values, errors = spectrum.ranked(few, "largest", 3)
    assert values.tolist() == [10, 8, 6]
    assert errors == pytest.approx([1e-4, 1e-3, 2.0 + 1e-3])


def test_an_extreme_that_is_not_separate_is_known_to_twice_its_residual():
    few = of_rows([0.0, 1.0, 2.0, 3.0, 3.5, 4.0], residuals=[np.full(6, 0.1)])
    assert spectrum.ranked(few, "largest", 2)[1] == pytest.approx([0.2, 0.7])
    assert spectrum.extremal(few, "largest") == (4.0, 0.1)


def test_the_precision_of_products_puts_no_rank_in_doubt():
    """Values 0.01 apart, known to 1e-3 because the products are no better."""
    few = of_rows(
        [-1.0, 0.0, 0.97, 0.98, 0.99, 1.0], residuals=[np.full(6, 1e-3)], product_error=[1e-3]
    )
    assert spectrum.ranked(few, "largest", 3)[1] == pytest.approx([1e-3] * 3)
    unknown = few._replace(metadata={})
    assert spectrum.ranked(unknown, "largest", 3)[1] == pytest.approx([0.002, 0.012, 0.022])


def test_copies_of_an_eigenvalue_are_ranks_of_their_own():
    """5 twice and 3 once, each to rounding: no rank is in doubt."""
    few = of_rows([-1.0, 0.0, 1.0, 3.0, 5.0 - 1e-15, 5.0], residuals=[np.full(6, 1e-9)])
    values, errors = spectrum.ranked(few, "largest", 3)
    assert values == pytest.approx([5, 5, 3])
    assert (errors <= 2e-9).all()


def test_errors_of_ranks_cover_the_eigenvalue_of_the_same_rank():
    """Random spectra with outliers and close pairs, from few steps to many, both ends.

    A close pair that looks like one eigenvalue cannot be known for what it is: one rank in thirty
    may be off by more. Residuals alone miss more than one in four.
    """
    missed, by_residual = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        pairs = generator.uniform(2, 4, 5)
        outliers = np.concatenate([pairs, pairs + 0.03, -pairs])
        values = np.sort(np.concatenate([generator.uniform(-1, 1, 150), outliers]))
        start = torch.from_numpy(generator.standard_normal(len(values)))
        for steps in (10, 16, 24):
            result = ritz(tridiagonalise(torch.from_numpy(values).mul, start, steps))
            few = of_rows(result.values, residuals=[result.residuals])
            found, errors = spectrum.ranked(few, "largest", 5)
            distance = np.abs(found - values[:-6:-1])
            missed += (distance > errors).tolist()
            by_residual += (distance > result.residuals[:-6:-1]).tolist()
    assert np.mean(missed) < 1 / 30 < 1 / 4 < np.mean(by_residual)


def test_older_files_lose_their_filling_and_residuals_below_the_roundoff(tmp_path):
    """Rows were filled up with the last value; float32 products with residuals of zero."""
    values = np.array([[-1.0, 2.0, 4.0, 4.0, 4.0], [-1.0, 0.5, 2.0, 3.0, 4.0]])
    weights = np.array([[0.5, 0.3, 0.2, 0, 0], [0.2] * 5])
    metadata = {"precision": "float32", "steps_done": [3, 5], "probes": 2}
    old = Spectrum(values, weights, np.zeros((2, 5)), values, np.ones((2, 4)), metadata)
    spectrum.save(tmp_path / "old.npz", old)
    read = spectrum.load(tmp_path / "old.npz")
    assert np.isfinite(read.ritz_values).sum(-1).tolist() == [3, 5]
    assert np.isfinite(read.off_diagonal).sum(-1).tolist() == [2, 4]
    assert (read.weights[0, 3:] == 0).all()
    real = np.isfinite(read.ritz_values)
    assert read.residuals[real] == pytest.approx(4 * 2.0**-23)
    assert len(spectrum.nodes(read)[0]) == 8
    alone = old._replace(**{name: getattr(old, name)[:1] for name in spectrum.ARRAYS},
                         metadata=metadata | {"steps_done": [3]})  # fmt: skip
    spectrum.save(tmp_path / "alone.npz", alone)
    assert spectrum.load(tmp_path / "alone.npz").ritz_values.tolist() == [[-1, 2, 4]]
    assert spectrum.ranked(spectrum.load(tmp_path / "alone.npz"), "largest", 2)[0][0] == 4
