"""Estimators of extreme eigenvalues on populations of matrices that are written down."""

import numpy as np
import pytest
import torch
from torch import Tensor

from truehessian.measurements import calibration
from truehessian.operators import NetworkOperator
from truehessian.operators.batches import TensorData
from truehessian.operators.weights import Weights
from truehessian.theory.estimates import guesses


class Mean(NetworkOperator):
    """The mean of matrices (n, P, P), in chunks."""

    def __init__(self, matrices: Tensor, chunk_size: int | None) -> None:
        self.matrices = matrices
        self.num_params = matrices.shape[1]
        self.dtype, self.device = torch.float64, torch.device("cpu")
        self.chunk_size = chunk_size or len(matrices)
        self.batchnorm = "eval"
        self.data = TensorData(matrices, torch.zeros(len(matrices)))

    @property
    def num_examples(self) -> int:
        return len(self.matrices)

    @property
    def weights(self) -> Weights:
        sizes = [float(len(part)) for part in self.matrices.split(self.chunk_size)]
        return Weights(sizes, float(sum(sizes)), True)

    def chunk_products(self, block: Tensor):
        for part in self.matrices.split(self.chunk_size):
            yield len(part), block @ part.mean(0)

    def _linearise(self, inputs, targets):
        raise NotImplementedError

    def _apply(self, graph, vector, keep):
        raise NotImplementedError


class Matrices:
    """Symmetric matrices around a diagonal one, with Gaussian noise."""

    def __init__(self, spikes, count=128, order=24, noise=0.5, seed=0) -> None:
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randn(count, order, order, generator=generator, dtype=torch.float64)
        centre = torch.zeros(order, dtype=torch.float64)
        centre[: len(spikes)] = torch.tensor(spikes, dtype=torch.float64)
        self.matrices = torch.diag(centre) + noise * (draws + draws.mT)
        self.num_examples = count

    def operator(self, positions, chunk_size=None):
        return Mean(self.matrices[torch.from_numpy(np.asarray(positions))], chunk_size)


HOW = {"steps": 24, "tolerance": None, "seed": 0}


@pytest.fixture(scope="module")
def trials():
    return guesses_of(Matrices([3.0, -2.0]), parts=[4, 8], repetitions=20, folds=2)


def guesses_of(population, **how):
    """What the estimators say of subsamples, once these have been measured."""
    shown = calibration.trials(population, **how, **HOW)
    assert list(shown.columns) == list(calibration.COLUMNS)
    return guesses.tabulate(shown.assign(epoch=0))


def test_there_is_a_row_per_subsample_end_and_estimator(trials):
    assert list(trials.columns) == list(guesses.COLUMNS)
    counts = trials.groupby(["num_examples", "end", "estimator"]).size()
    assert set(counts.index.get_level_values("num_examples")) == {32, 16}
    assert (counts[32] == 20).all()
    assert (counts[16] == 24).all()  # as many as fill partitions


def test_the_truth_and_the_naive_value_are_eigenvalues(trials):
    population = Matrices([3.0, -2.0])
    values = torch.linalg.eigvalsh(population.matrices.mean(0))
    largest = trials[trials["end"] == "largest"]
    assert largest["truth"].unique() == pytest.approx([values[-1].item()], abs=1e-10)
    subset = calibration.measurement.disjoint_folds(128, 4, 0)[0]
    own = torch.linalg.eigvalsh(population.matrices[torch.from_numpy(subset)].mean(0))
    naive = largest[(largest["estimator"] == "naive") & (largest["num_examples"] == 32)]
    assert naive["estimate"].iloc[0] == pytest.approx(own[-1].item(), abs=1e-10)


@pytest.mark.parametrize("end", ["largest", "smallest"])
def test_cross_validation_takes_off_most_of_the_bias_and_covers_the_truth(trials, end):
    """Population of known truth, spikes well beyond the transition at n = 16."""
    rows = trials[(trials["end"] == end) & (trials["num_examples"] == 16)]
    errors = (rows["estimate"] - rows["truth"]).groupby(rows["estimator"]).mean()
    outward = 1 if end == "largest" else -1
    assert outward * errors["naive"] > 0.15
    assert abs(errors["cross_validated"]) < abs(errors["naive"]) / 3
    assert outward * errors["held_out"] < 0
    best = rows[rows["estimator"] == "cross_validated"]
    assert best["truth"].between(best["low"], best["high"]).mean() >= 0.8


def test_isotropic_noise_is_undone_by_inverting_either_variance(trials):
    rows = trials[(trials["end"] == "largest") & (trials["num_examples"] == 32)]
    errors = (rows["estimate"] - rows["truth"]).groupby(rows["estimator"]).mean().abs()
    assert errors["directional"] < errors["naive"] / 3
    assert errors["goe"] < errors["naive"] / 3


def test_a_population_without_noise_leaves_nothing_to_correct():
    frame = guesses_of(Matrices([3.0, -2.0], noise=0.0), parts=[4], repetitions=4, folds=2)
    np.testing.assert_allclose(frame["estimate"], frame["truth"], atol=1e-10)


def test_pure_noise_is_said_to_be_inside_the_noise():
    frame = guesses_of(Matrices([0.0]), parts=[8], repetitions=8, folds=2)
    inverted = frame[frame["estimator"] == "goe"]
    assert inverted["estimate"].isna().mean() > 0.5


def test_the_same_seed_gives_the_same_numbers():
    how = {"parts": [8], "repetitions": 8, "folds": 2, **HOW}
    first, second = (calibration.trials(Matrices([3.0, -2.0]), **how) for _ in range(2))
    assert first.equals(second)


def test_inner_eigenvalues_are_tried_as_well():
    """The second of each end: truth, own value, and less bias than the own value has."""
    population = Matrices([3.0, 2.0, -2.0, -1.2], noise=0.3)
    shown = calibration.trials(population, parts=[8], repetitions=24, folds=4, ranks=2, **HOW)
    assert shown.groupby(["end", "rank"]).size().tolist() == [24] * 4
    values = torch.linalg.eigvalsh(population.matrices.mean(0))
    for end, rank, place in (("largest", 2, -2), ("smallest", 2, 1), ("largest", 1, -1)):
        rows = shown[(shown["end"] == end) & (shown["rank"] == rank)]
        assert rows["truth"].unique() == pytest.approx([values[place].item()], abs=1e-10)
        guessed = guesses.tabulate(rows.assign(epoch=0))
        errors = (guessed["estimate"] - guessed["truth"]).groupby(guessed["estimator"]).mean()
        outward = 1 if end == "largest" else -1
        assert outward * errors["naive"] > 0.03
        assert abs(errors["cross_validated"]) < abs(errors["naive"]) / 2
