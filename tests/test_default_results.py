"""The default run's spectra against SciPy on a product that shares no code with ours.

Needs the results of `uv run snakemake`: `uv run pytest -m slow tests/test_default_results.py`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F

from truehessian.data import dataset
from truehessian.networks import checkpoints
from truehessian.operators import Hessian
from truehessian.spectra import spectrum

RESULTS = Path(__file__).parents[1] / "results"
SPECTRA = sorted(RESULTS.glob("digits-*/spectra/*/full.npz"))

pytestmark = pytest.mark.slow


def independent_product(model, images, labels):
    """H v by forward mode over reverse mode, on all the data at once, in float32."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    shapes = [p.shape for p in parameters.values()]

    def gradient(values):
        return torch.func.grad(
            lambda p: F.cross_entropy(torch.func.functional_call(model, p, (images,)), labels)
        )(values)

    def product(vector):
        flat = torch.from_numpy(vector).reshape(-1).float()
        parts = flat.split([shape.numel() for shape in shapes])
        tangents = {
            name: part.view(shape)
            for name, part, shape in zip(parameters, parts, shapes, strict=True)
        }
        _, result = torch.func.jvp(gradient, (parameters,), (tangents,))
        return torch.cat([result[name].reshape(-1) for name in parameters]).double().numpy()

    order = sum(shape.numel() for shape in shapes)
    return scipy.sparse.linalg.LinearOperator((order, order), matvec=product, dtype="float64")


def test_default_run_is_there():
    assert SPECTRA, "run `uv run snakemake` first"


@pytest.mark.parametrize("path", SPECTRA, ids=lambda p: f"{p.parts[-4]}-{p.parts[-2]}")
def test_extremes_agree_with_scipy(path):
    run, epoch = path.parents[2], path.parent.name
    model = checkpoints.load(run / "checkpoints" / f"{epoch}.safetensors")
    train = dataset.load(run / "dataset.safetensors").train
    images, labels = train.batch(slice(None))
    operator = independent_product(model, images, labels)
    measured = spectrum.load(path)
    for end, which in (("largest", "LA"), ("smallest", "SA")):
        (reference,) = scipy.sparse.linalg.eigsh(
            operator, k=1, which=which, tol=1e-6, return_eigenvectors=False
        )
        assert spectrum.extremal(measured, end)[0] == pytest.approx(reference, rel=1e-4)


RANKS = 5


@pytest.mark.parametrize("path", SPECTRA, ids=lambda p: f"{p.parts[-4]}-{p.parts[-2]}")
def test_outliers_of_all_ranks_agree_with_scipy_to_the_residuals_that_they_state(path):
    """Ranks 1 to 5 of both ends, of all data and of the mean over all folds of batches."""
    run, epoch = path.parents[2], int(path.parent.name)
    model = checkpoints.load(run / "checkpoints" / f"{epoch}.safetensors")
    train = dataset.load(run / "dataset.safetensors").train
    outliers = pd.read_csv(run / "tables/outliers.csv").query("epoch == @epoch")
    assert set(outliers["rank"]) == set(range(1, RANKS + 1))
    stacks = {size: spectrum.load(path.with_name(f"batch-{size}.npz")) for size in (16, 32, 64)}
    parts = {None: [slice(None)], **{size: stack.indices for size, stack in stacks.items()}}
    for end, which in (("largest", "LA"), ("smallest", "SA")):
        for size, folds in parts.items():
            truths = []
            for rows in folds:
                operator = Hessian(model, train.subset(rows), precision="float64").to_scipy()
                values = scipy.sparse.linalg.eigsh(
                    operator, RANKS, which=which, tol=1e-7, return_eigenvectors=False
                )
                truths.append(np.sort(values)[:: -1 if end == "largest" else 1])
            truth = np.mean(truths, 0)
            chosen = outliers[outliers["end"] == end]
            columns = ("full", "full_residual")
            if size is not None:
                chosen = chosen[chosen["batch_size"] == size]
                columns = ("batch_mean", "batch_residual")
            for row in chosen.to_dict("records"):
                missed = abs(row[columns[0]] - truth[row["rank"] - 1])
                assert missed <= row[columns[1]], (row["end"], row["rank"], size)
