"""The law and the scaling of noise whose law and scaling are known."""

import math

import numpy as np
import pandas as pd
import pytest

from truehessian.report.tables import noise
from truehessian.spectra.spectrum import Spectrum
from truehessian.theory import laws, rmt


def equal_weights(values):
    return np.sort(values), np.full(len(values), 1 / len(values))


def test_a_gaussian_orthogonal_matrix_is_told_to_be_a_semicircle():
    square = np.random.default_rng(0).standard_normal((800, 800))
    found = laws.fit_laws(*equal_weights(np.linalg.eigvalsh(square + square.T)))
    assert found["semicircle_distance"] < 0.02
    assert found["skewness"] == pytest.approx(0, abs=0.05)
    assert found["kurtosis"] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ratio", [0.5, 4.0])
def test_a_centred_sample_covariance_is_told_to_be_marchenko_pastur(ratio, sign):
    generator = np.random.default_rng(1)
    samples = round(600 / ratio)
    data = generator.standard_normal((samples, 600)) * math.sqrt(3)
    values = sign * (np.linalg.eigvalsh(data.T @ data / samples) - 3)
    found = laws.fit_laws(*equal_weights(values))
    assert found["better"] == "marchenko_pastur"
    assert found["marchenko_pastur_distance"] < 0.05 < found["semicircle_distance"]
    assert found["marchenko_pastur_ratio"] == pytest.approx(ratio, rel=0.1)
    assert found["marchenko_pastur_variance"] == pytest.approx(3 * sign, rel=0.1)


def test_one_node_has_no_law():
    found = laws.fit_laws(np.array([0.0, 0.0]), np.array([0.5, 0.5]))
    assert found["better"] == "undecided"
    assert math.isnan(found["semicircle_scale"])


def stack(batch_size, epoch, scale):
    """Folds of noise with the quadrature of a semicircle, exact for two nodes."""
    nodes = scale * np.array([[[-1.0, 1.0]], [[-1.1, 1.1]]])
    facts = {"operator": "noise", "epoch": epoch, "batch_size": batch_size}
    facts |= {"num_examples": 100, "num_parameters": 400}
    half = np.full_like(nodes, 0.5)
    return Spectrum(nodes, half, 0 * nodes, nodes, nodes[..., 1:], facts)


def variance():
    return pd.DataFrame({"epoch": 0, "direction": ["random-1", "random-2"], "variance": [3.0, 5.0]})


def test_noise_stands_beside_what_isotropic_noise_would_be():
    frame = noise.noise([stack(20, 0, 2.0), stack(10, 0, 3.0)], variance())
    assert list(frame.columns) == list(noise.NOISE_COLUMNS)
    assert frame[["batch_size", "fold"]].values.tolist() == [[10, 0], [10, 1], [20, 0], [20, 1]]
    factor = (100 - 10) / (10 * 99)
    row = frame.iloc[0]
    assert row["edge"] == pytest.approx(2 * math.sqrt(factor * 4))
    assert row["frobenius_predicted"] == pytest.approx(math.sqrt(400 * factor * 4))
    assert row["frobenius_norm"] == pytest.approx(math.sqrt(400) * 3.0)
    assert (row["largest"], row["smallest"]) == (3.0, -3.0)
    other = Spectrum(*[np.zeros((1, 2))] * 5, {"operator": "hessian"})
    assert noise.noise([other], variance()).empty


@pytest.mark.parametrize("exponent", [0.5, 0.8])
def test_the_exponent_of_noise_that_scales_is_found(exponent):
    generator = np.random.default_rng(2)
    spectra = [
        stack(
            size, epoch, (1 + epoch) * (1 / size - 1 / 100) ** exponent * generator.normal(1, 0.02)
        )
        for size in (5, 10, 20, 50)
        for epoch in (0, 1, 2)
    ]
    frame = noise.scaling(noise.noise(spectra, variance()), 100)
    assert list(frame.columns) == list(noise.SCALING_COLUMNS)
    assert frame["epoch"].unique().tolist() == ["0", "1", "2", "all"]
    assert ((frame["low"] < exponent) & (exponent < frame["high"])).mean() > 0.8
    together = frame[frame["epoch"] == "all"].iloc[0]
    assert together["exponent"] == pytest.approx(exponent, abs=0.03)
    assert together["values"] == 12


def test_the_size_of_the_noise_is_that_along_random_directions_in_every_fold():
    squares = [[0.3, 0.5], [0.1, 0.1], [0.2, 0.2]]
    facts = {"operator": "hessian", "epoch": 0, "batch_size": 10, "num_examples": 10}
    facts |= {"population": 100, "num_parameters": 400, "noise_squares": squares}
    batches = Spectrum(*[np.zeros((3, 1, 2))] * 5, facts)
    frame = noise.noise([stack(10, 0, 3.0), batches], variance())
    assert frame["fold"].tolist() == [0, 1, 2]
    expected = np.sqrt(400 * np.array([0.4, 0.1, 0.2]))
    np.testing.assert_allclose(frame["frobenius_norm"], expected)
    # The error of a mean of two is half of their difference, and that of its root half of that.
    assert frame["frobenius_standard_error"][0] == pytest.approx(expected[0] * 0.1 / 0.4 / 2)
    assert frame["largest"].isna().tolist() == [False, False, True]
    assert frame["edge"].nunique() == 1


def test_one_batch_size_has_no_exponent():
    frame = noise.noise([stack(20, 0, 2.0)], variance())
    assert noise.scaling(frame, 100).empty


def test_the_marchenko_pastur_moments_are_those_that_the_fit_inverts():
    law = rmt.MarchenkoPastur(0.7, 2.0)
    first, second, third = (law.moment(order) for order in (1, 2, 3))
    assert second - first**2 == pytest.approx(0.7 * 4)
    assert third - 3 * first * second + 2 * first**3 == pytest.approx(0.49 * 8)
