"""Curvature on held-out examples: brackets of the extremes of the true Hessian."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from cases import Smooth, examples, network
from dense import Dense, dense_hessian

from truehessian import operators
from truehessian.measurements import held_out
from truehessian.measurements.variance import DirectionalVariance
from truehessian.spectra import lanczos


def fold(seed: int, order: int = 8) -> torch.Tensor:
    """A random symmetric matrix around a fixed one with a large and a small eigenvalue."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(order, order, generator=generator, dtype=torch.float64)
    centre = torch.diag(torch.tensor([5.0, *[0.0] * (order - 2), -2.0], dtype=torch.float64))
    return centre + 0.3 * (noise + noise.T)


def tridiagonalised(matrix: torch.Tensor):
    start = lanczos.probe_vector(len(matrix), 0)
    return lanczos.tridiagonalise(Dense(matrix).matvec, start, len(matrix))


def brackets(matrices):
    return held_out.brackets(
        [Dense(matrix) for matrix in matrices], [tridiagonalised(matrix) for matrix in matrices]
    )


@pytest.mark.parametrize("count", [2, 3])
def test_brackets_equal_a_direct_computation(count):
    matrices = [fold(seed) for seed in range(count)]
    decomposed = [torch.linalg.eigh(matrix) for matrix in matrices]
    result = brackets(matrices)
    for end, column in (("largest", -1), ("smallest", 0)):
        own = np.mean([values[column].item() for values, _ in decomposed])
        crossed = np.mean(
            [
                (vectors[:, column] @ matrices[other] @ vectors[:, column]).item()
                for number, (_, vectors) in enumerate(decomposed)
                for other in range(count)
                if other != number
            ]
        )
        low, high = (crossed, own) if end == "largest" else (own, crossed)
        assert result[end].low == pytest.approx(low, abs=1e-10)
        assert result[end].high == pytest.approx(high, abs=1e-10)
        assert result[end].low < result[end].high


def test_the_bracket_of_identical_folds_is_the_eigenvalue():
    result = brackets([fold(0), fold(0)])
    values = torch.linalg.eigvalsh(fold(0))
    assert result["largest"][:2] == pytest.approx((values[-1].item(),) * 2, abs=1e-10)
    assert result["smallest"][:2] == pytest.approx((values[0].item(),) * 2, abs=1e-10)
    assert result["largest"].folds == 2
    assert np.isnan(result["largest"].deviation)  # a matrix knows nothing of its examples


def test_on_average_brackets_hold_the_extremes_of_the_mean():
    """Over 200 pairs of folds: E low <= true <= E high, by 5 standard errors."""
    truth = {"largest": 5.0, "smallest": -2.0}
    results = [brackets([fold(2 * n), fold(2 * n + 1)]) for n in range(200)]
    for end, value in truth.items():
        lows, highs = (
            np.array([getattr(r[end], side) for r in results]) for side in ("low", "high")
        )
        assert value - lows.mean() > 5 * lows.std() / np.sqrt(200)
        assert highs.mean() - value > 5 * highs.std() / np.sqrt(200)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_bracket_always_holds_the_extremes_of_the_mean_of_its_equal_folds(count):
    """By convexity: so that it holds them confirms the arithmetic and nothing else."""
    for seed in range(20):
        matrices = [fold(100 * seed + number) for number in range(count)]
        values = torch.linalg.eigvalsh(torch.stack(matrices).mean(0))
        result = brackets(matrices)
        assert result["largest"].low <= values[-1].item() <= result["largest"].high
        assert result["smallest"].low <= values[0].item() <= result["smallest"].high


def test_one_fold_makes_no_bracket():
    with pytest.raises(ValueError, match="at least two disjoint folds, got 1"):
        brackets([fold(0)])


def test_the_table_has_a_row_per_direction_and_brackets_at_the_first_rank():
    names = ["top-1", "top-2", "bottom-1"]
    column = torch.arange(3, dtype=torch.float64)
    estimate = DirectionalVariance(
        variance=column,
        standard_error=column,
        quotient=column + 10,
        quotient_standard_error=column + 20,
        covariance=torch.eye(3),
        projected=torch.zeros(2, 3, 3),
        beside=torch.zeros(2, 0, 3),
        mean_projected=torch.zeros(3, 3),
        mean_beside=torch.zeros(0, 3),
        group_size=4,
        num_examples=60,
    )
    found = {
        ("largest", 1): held_out.Crossed(2, 1, 0.5, 3.5, 3, 12),
        ("largest", 2): held_out.Crossed(1.5, 0.8, 0.4, 2.5, 3, 12),
        ("smallest", 1): held_out.Crossed(-4, -3, 0.7, math.nan, 3, 12),
    }
    frame = held_out.table(names, np.array([9.0, 8.0, -7.0]), estimate, found)
    expected = pd.DataFrame(
        {
            "end": ["largest", "largest", "smallest"],
            "rank": [1, 2, 1],
            "empirical": [9.0, 8, -7],
            "held_out": [10.0, 11, 12],
            "held_out_standard_error": [20.0, 21, 22],
            "num_examples": 60,
            "bracket_low": [1, np.nan, -4],
            "bracket_high": [2, np.nan, -3],
            "bracket_folds": 3,
            "bracket_deviation": [0.5, 0.4, 0.7],
            "fitted_value": [2, 1.5, -4],
            "crossed": [1, 0.8, -3],
            "skewness": [3.5, 2.5, np.nan],
            "groups": 12,
        }
    )
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


def test_inner_eigenvalues_are_crossed_as_a_direct_computation_says():
    matrices = [fold(seed) for seed in range(3)]
    decomposed = [torch.linalg.eigh(matrix) for matrix in matrices]
    runs = [tridiagonalised(matrix) for matrix in matrices]
    result = held_out.cross([Dense(matrix) for matrix in matrices], runs, ranks=3)
    assert set(result) == {(end, rank) for end in ("largest", "smallest") for rank in (1, 2, 3)}
    for (end, rank), found in result.items():
        column = -rank if end == "largest" else rank - 1
        assert found.fitted_value == pytest.approx(
            np.mean([values[column].item() for values, _ in decomposed]), abs=1e-9
        )
        assert found.crossed == pytest.approx(
            np.mean(
                [
                    (vectors[:, column] @ matrices[other] @ vectors[:, column]).item()
                    for number, (_, vectors) in enumerate(decomposed)
                    for other in range(3)
                    if other != number
                ]
            ),
            abs=1e-9,
        )


def test_inner_eigenvalues_that_have_not_converged_are_missing():
    matrices = [fold(seed, 40) for seed in range(2)]
    runs = [
        lanczos.tridiagonalise(Dense(matrix).matvec, lanczos.probe_vector(40, 0), 12)
        for matrix in matrices
    ]
    result = held_out.cross([Dense(matrix) for matrix in matrices], runs, ranks=6)
    known = [not math.isnan(result["largest", rank].fitted_value) for rank in range(1, 7)]
    residuals = [lanczos.ritz(run) for run in runs]
    expected = [
        all(r.residuals[-rank] <= 0.1 * abs(r.values[-rank]) for r in residuals) or rank == 1
        for rank in range(1, 7)
    ]
    assert known == expected
    assert known[0]
    assert not known[-1]


def test_third_moments_of_examples_come_from_groups_without_bias():
    """Exponential curvatures, whose third central moment is 2, in 4,000 times 5 groups of 4."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.empty(4000, 5, 4, dtype=torch.float64).exponential_(generator=generator)
    found = []
    for groups in draws.mean(2):
        estimate = _estimate_of(groups[:, None, None], 4)
        found.append(held_out.third_moments(estimate).item())
    assert abs(np.mean(found) - 2) < 4 * np.std(found) / math.sqrt(4000)
    assert math.isnan(held_out.third_moments(_estimate_of(draws[0, :2, 0, None, None], 1)).item())


def _estimate_of(projected, group_size):
    column = torch.zeros(1, dtype=torch.float64)
    return DirectionalVariance(
        *[column] * 4, projected[:1, 0], projected, projected, column, column,
        group_size=group_size, num_examples=group_size * len(projected),
    )  # fmt: skip


def test_operators_with_chunks_show_how_much_single_examples_differ():
    """Chunks of one example each: the deviation is that of the curvatures, the bracket the same."""
    model, data = network(Smooth), examples(24)
    parts = [tuple(tensor[part] for tensor in data) for part in (slice(12), slice(12, 24))]
    single = [operators.Hessian(model, part, chunk_size=1, precision="float64") for part in parts]
    runs = [
        lanczos.tridiagonalise(fold.matvec, lanczos.probe_vector(fold.num_params, 0), 40)
        for fold in single
    ]
    result = held_out.brackets(single, runs)
    matrices = [dense_hessian(model, *part) for part in parts]
    squares = []
    for own, other in ((0, 1), (1, 0)):
        vector = torch.linalg.eigh(matrices[own]).eigenvectors[:, -1]
        curvatures = [
            (vector @ dense_hessian(model, x[None], y[None]) @ vector).item()
            for x, y in zip(*parts[other], strict=True)
        ]
        squares.append(np.var(curvatures, ddof=1))
    assert result["largest"].deviation == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)
    batches = [[(x[None], y[None]) for x, y in zip(*part, strict=True)] for part in parts]
    own = [operators.Hessian(model, batch, precision="float64") for batch in batches]
    assert held_out.brackets(own, runs)["largest"] == pytest.approx(result["largest"], rel=1e-12)
    whole = [operators.Hessian(model, part, precision="float64") for part in parts]
    plain = held_out.brackets(whole, runs)
    assert result["smallest"][:2] == pytest.approx(plain["smallest"][:2], rel=1e-8)
