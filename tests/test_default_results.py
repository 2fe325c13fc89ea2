"""The default run's spectra against SciPy on a product that shares no code with ours.

Needs the results of `uv run snakemake`: `uv run pytest -m slow tests/test_default_results.py`.
"""

from pathlib import Path

import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F

from truehessian import checkpoints, datasets, spectrum

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
    train = datasets.load(run / "dataset.safetensors").train
    images, labels = train.batch(slice(None))
    operator = independent_product(model, images, labels)
    measured = spectrum.load(path)
    for end, which in (("largest", "LA"), ("smallest", "SA")):
        (reference,) = scipy.sparse.linalg.eigsh(
            operator, k=1, which=which, tol=1e-6, return_eigenvectors=False
        )
        assert spectrum.extremal(measured, end)[0] == pytest.approx(reference, rel=1e-4)
