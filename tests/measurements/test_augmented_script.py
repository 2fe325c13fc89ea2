"""Spectra of data that a function of the user's own augments."""

import numpy as np
import pytest
import torch
from test_scripts import PRODUCTS, call

from truehessian.data import dataset
from truehessian.data.examples import Examples
from truehessian.networks import checkpoints, registry
from truehessian.operators.hessian import Hessian
from truehessian.spectra import spectrum

NETWORK = {"name": "mlp", "hidden": [3], "num_classes": 3, "input_shape": [4]}
MODULE = """
import torch

def noisy(inputs, generator):
    return inputs + torch.randn(inputs.shape, generator=generator)
"""


def test_the_matrix_is_that_of_the_examples_that_the_function_makes(tmp_path, monkeypatch):
    (tmp_path / "own_noise.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randn(30, 4, generator=draw)
    train = Examples(numbers, torch.arange(30) % 3)
    data = dataset.Dataset("own", train, train, 3, 0, False)
    dataset.save(tmp_path / "data.safetensors", data)
    model = registry.build(**NETWORK, seed=0)
    checkpoints.save(tmp_path / "0.safetensors", model, metadata={"model": NETWORK})
    settings = {
        **PRODUCTS,
        "factors": [{"factor": 3, "steps": 27}],
        "seed": 5,
        "loss": "cross_entropy",
        "parameters": None,
        "weight_decay": 0.0,
        "augmentation": "own_noise:noisy",
    }
    call(
        "measure_augmented_spectra",
        str(tmp_path / "0.safetensors"),
        str(tmp_path / "data.safetensors"),
        spectra_out=[str(tmp_path / "augmented.npz")],
        settings=settings,
        network=None,
        epoch=0,
    )
    from own_noise import noisy

    from truehessian.data.own_augmentation import augmented

    made = augmented(train, 3, noisy, seed=5)
    hessian = Hessian(model, made, precision="float64")
    dense = hessian @ torch.eye(hessian.num_params, dtype=torch.float64)
    found = spectrum.load(tmp_path / "augmented.npz")
    assert found.metadata["num_examples"] == 90
    eigenvalues = np.linalg.eigvalsh(dense.numpy())
    assert found.ritz_values.max() == pytest.approx(eigenvalues[-1], rel=1e-4)
    assert found.ritz_values.min() == pytest.approx(eigenvalues[0], rel=1e-2)
