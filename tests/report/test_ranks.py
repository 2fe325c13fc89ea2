"""Outliers in tables against SciPy on the same operator, rank by rank, to the stated residuals."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse.linalg

from truehessian.data import catalogue
from truehessian.measurements import source
from truehessian.networks import registry
from truehessian.operators import Hessian
from truehessian.report.tables import sampling
from truehessian.spectra import spectrum

RANKS = 5
VARIANCE = pd.DataFrame(
    columns=["epoch", "direction", "variance", "standard_error", "num_examples", "num_parameters"]
)


def extremes(operator):
    """The five outermost eigenvalues of both ends, from the extreme inwards."""
    product, order = operator.to_scipy(), {"largest": "LA", "smallest": "SA"}
    start = np.random.default_rng(0).standard_normal(operator.num_params)
    found = {
        end: np.sort(
            scipy.sparse.linalg.eigsh(
                product, RANKS, which=which, v0=start, tol=1e-7, return_eigenvectors=False
            )
        )
        for end, which in order.items()
    }
    return {"largest": found["largest"][::-1], "smallest": found["smallest"]}


@pytest.fixture(scope="module")
def digits():
    return catalogue.fetch("digits", train_examples=96, test_examples=32).train


@pytest.fixture(scope="module")
def network():
    return registry.build("mlp", hidden=[8], num_classes=10, input_shape=(1, 8, 8), seed=0)


@pytest.fixture(scope="module", params=["float32", "float64"])
def problem(request, digits, network):
    """Hessians of all data and of three batches, with the positions and the extremes of these."""
    indices = source.draw_folds(len(digits), 24, 3, seed=0)
    parts = [digits, *(digits.subset(rows) for rows in indices)]
    whole, *batches = (Hessian(network, part, precision=request.param) for part in parts)
    return whole, batches, indices, extremes(whole), [extremes(batch) for batch in batches]


def measured(operator, steps, ranks, **facts):
    facts = {"epoch": 0, "split": "train", **facts}
    return source.measure(operator, steps=steps, ranks=ranks, seed=0, tolerance=1e-4, **facts)[0]


# Few steps: some ranks have not converged. Many: early stop, by the extremes alone or by all ranks.
@pytest.mark.parametrize(("steps", "ranks"), [(16, 1), (80, 1), (80, RANKS)])
def test_outliers_agree_with_scipy_to_the_residuals_that_they_state(problem, steps, ranks):
    whole, batches, indices, of_whole, of_batches = problem
    full = measured(whole, steps, ranks)
    folds = [measured(batch, steps, ranks, batch_size=24) for batch in batches]
    stack = source.stack_folds(folds, indices)
    frame = sampling.outliers([full, stack], VARIANCE, ranks=RANKS)
    if steps == 80:  # the table has to see through rows of different lengths
        assert max(full.metadata["steps_done"]) < steps
        assert len({fold.metadata["steps"] for fold in folds}) > 1

    assert len(frame) >= 2 * 4
    for row in frame.itertuples():
        truth = of_whole[row.end][row.rank - 1]
        assert abs(row.full - truth) <= row.full_residual
        truths = [batch[row.end][row.rank - 1] for batch in of_batches]
        assert row.folds == len(batches)
        assert abs(row.batch_mean - np.mean(truths)) <= row.batch_residual
    if ranks == RANKS:
        assert frame["rank"].max() == RANKS
        scale = frame.groupby("end")[["full"]].transform(lambda column: column.abs().max())
        assert (frame["full_residual"] < 0.02 * scale["full"]).all()


def test_probes_together_know_at_least_what_each_knows(digits, network):
    """No Ritz value of a rank lies farther out than the eigenvalue of that rank."""
    whole = Hessian(network, digits, precision="float64")
    alone = source.measure(whole, steps=12, seed=0)[0]
    several = source.measure(whole, steps=12, probes=3, seed=0)[0]
    truth = extremes(whole)
    for end, sign in (("largest", 1), ("smallest", -1)):
        one, all_three = (spectrum.ranked(few, end, RANKS)[0] for few in (alone, several))
        assert (sign * one <= sign * all_three + 1e-12).all()
        assert (sign * all_three <= sign * truth[end] + 1e-9).all()
