"""Operators on a GPU give the products of the CPU, whatever lies where."""

import numpy as np
import pytest
import torch
from cases import CASES, Convolutional, Smooth, examples, network
from torch import Tensor

from truehessian import operators
from truehessian.measurements import held_out, leak_sketch, variance
from truehessian.operators import (
    GGN,
    EmpiricalFisher,
    GradientCovariance,
    Hessian,
    LinearCombination,
    Noise,
)
from truehessian.spectra import lanczos

# The fake GPU loses its device in the second derivative of softplus, which only "geometry" has.
NAMES = [name for name in CASES if name != "geometry"]
KINDS = [Hessian, GGN, EmpiricalFisher, GradientCovariance]


def make(kind, name, device, precision="float64", **settings):
    """An operator of ten examples of a case in chunks of four, on a device."""
    case = CASES[name]
    model, settings = case.model().to(device), {"loss": case.loss, **settings}
    inputs, targets = (tensor.to(device) for tensor in case.data(10))
    if kind in (Noise, LinearCombination):
        full = Hessian(model, (inputs, targets), chunk_size=4, precision=precision, **settings)
        batch = Hessian(model, (inputs[:3], targets[:3]), precision=precision, **settings)
        return Noise(batch, full) if kind is Noise else 2.0 * full - batch
    return kind(model, (inputs, targets), chunk_size=4, precision=precision, **settings)


def vectors(num_params: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_params, count, generator=generator, dtype=torch.float64)


# Sums of Hessians, each of which is tried with every case.
SUMS = [
    (kind, case) for kind in (Noise, LinearCombination) for case in ("convolutional", "squares")
]


@pytest.mark.parametrize(
    ("kind", "case"), [*((kind, case) for kind in KINDS for case in NAMES), *SUMS]
)
def test_products_are_those_of_the_cpu(cuda, kind, case):
    """Twice, the second time with kept graphs, from vectors of either device."""
    expected = make(kind, case, "cpu")
    block = vectors(expected.num_params)
    known = expected @ block
    operator = make(kind, case, cuda)
    for given in (block, block.to(cuda)):
        products = operator @ given
        assert products.device == operator.device == cuda
        assert torch.allclose(products.cpu(), known, rtol=1e-9, atol=1e-12)
    single = operator.matvec(block[:, 0])
    assert torch.allclose(single.cpu(), known[:, 0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["convolutional", "normalised rows"])
@pytest.mark.parametrize(
    "settings", [{"precision": "float32"}, {"batchnorm": "train"}, {"memory": 0}]
)
def test_products_are_those_of_the_cpu_however_they_are_made(cuda, case, settings):
    expected = make(Hessian, case, "cpu", **settings)
    block = vectors(expected.num_params)
    products = make(Hessian, case, cuda, **settings) @ block
    assert torch.allclose(products.cpu(), expected @ block, rtol=1e-4, atol=1e-5)


def test_data_on_the_cpu_go_to_the_device_chunk_by_chunk(cuda):
    model, data = network(Convolutional), examples(10)
    batches = [(data[0][:4], data[1][:4]), (data[0][4:], data[1][4:])]
    expected = Hessian(model, batches, precision="float64")
    block = vectors(expected.num_params)
    for given in (data, batches, operators.Stream(batches)):
        operator = Hessian(model, given, chunk_size=4, precision="float64", device=cuda)
        assert torch.allclose((operator @ block).cpu(), expected @ block, rtol=1e-9, atol=1e-12)


def test_operators_of_one_device_combine_however_it_is_called(cuda):
    model, data = network(Smooth), examples(10)
    first = Hessian(model, data, device="cuda")
    second = Hessian(model.to(cuda), data)
    assert (first + second).device == cuda


@pytest.mark.parametrize("kind", [*KINDS, Noise, LinearCombination])
def test_scipy_sees_the_same_operator(cuda, kind):
    expected = make(kind, "convolutional", "cpu").to_scipy()
    operator = make(kind, "convolutional", cuda).to_scipy()
    block = vectors(operator.shape[0]).numpy()
    assert np.allclose(operator.matmat(block), expected.matmat(block), rtol=1e-9, atol=1e-12)
    assert np.allclose(operator.matvec(block[:, 0]), expected.matvec(block[:, 0]), atol=1e-12)


@pytest.mark.parametrize("kind", [Hessian, GGN, EmpiricalFisher])
def test_variances_are_those_of_the_cpu_from_directions_on_the_cpu(cuda, kind):
    results = []
    for device in ("cpu", cuda):
        operator = make(kind, "convolutional", device)
        directions = torch.linalg.qr(vectors(operator.num_params, 5))[0].T
        sketch = leak_sketch.LeakSketch(list(directions[1:].chunk(2)), 1)
        estimate = variance.along_directions(operator, directions, sketch=sketch)
        values = estimate.quotient[1:].cpu().numpy()
        noise = variance.of_subspace(operator, directions[1:], values, estimate, sketch)
        frame = variance.table(list("abcde"), estimate, operator.num_params)
        results.append((frame["variance"], frame["standard_error"], noise.leak, noise.projected))
    for found, known in zip(*results, strict=True):
        assert np.allclose(np.abs(found), np.abs(known), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [2, 128])
@pytest.mark.parametrize("far", [(), (0,), (0, 1, 2)])
def test_brackets_are_those_of_the_cpu_wherever_the_bases_lie(cuda, far, chunk_size):
    """`far` are the folds whose bases had no room on the device."""
    results = []
    for device in (torch.device("cpu"), cuda):
        model = network(Smooth).to(device)
        inputs, targets = (tensor.to(device) for tensor in examples(12))
        how = {"chunk_size": chunk_size, "precision": "float64"}
        parts = [slice(begin, begin + 4) for begin in (0, 4, 8)]
        folds = [Hessian(model, (inputs[part], targets[part]), **how) for part in parts]
        runs = [
            lanczos.tridiagonalise(
                fold.matvec,
                lanczos.probe_vector(fold.num_params, seed=0),
                12,
                dtype=fold.dtype,
                device=device,
                basis_memory=0 if number in far else None,
            )
            for number, fold in enumerate(folds)
        ]
        expected_places = ["cpu" if number in far else device.type for number in range(3)]
        assert [run.basis.device.type for run in runs] == expected_places or device.type == "cpu"
        found = held_out.brackets(folds, runs)
        results.append([value for end in ("largest", "smallest") for value in found[end]])
    assert np.allclose(*results, rtol=1e-6, equal_nan=True)
