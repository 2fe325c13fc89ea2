"""Files and summaries of measured spectra."""

import numpy as np
import pytest

from truehessian import spectrum
from truehessian.spectrum import Spectrum


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
    density = spectrum.spectral_density(np.array([-1.0, 2.0]), np.array([0.25, 0.75]), grid, 0.3)
    step = grid[1] - grid[0]
    mean = (grid * density).sum() * step
    assert density.sum() * step == pytest.approx(1)
    assert mean == pytest.approx(1.25)
    spread = 0.25 * (-1 - 1.25) ** 2 + 0.75 * (2 - 1.25) ** 2 + 0.3**2
    assert ((grid - mean) ** 2 * density).sum() * step == pytest.approx(spread)


def test_wrong_density_arguments_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        spectrum.spectral_density(np.zeros(2), np.zeros(3), np.zeros(1), 1.0)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        spectrum.spectral_density(np.zeros(2), np.zeros(2), np.zeros(1), 0.0)
