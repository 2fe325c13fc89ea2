"""Batch statistics beside running ones: spectra, table and figure."""

import copy

import numpy as np
import pandas as pd
import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from table_cases import make_spectrum
from test_scripts import PRODUCTS, call, figure, table

from truehessian.data import catalogue, dataset
from truehessian.networks import checkpoints, registry
from truehessian.report import plots
from truehessian.report.tables import summary
from truehessian.spectra import spectrum

SIZES = (32, 40)  # of 96 examples, so that one of them leaves a short chunk
NETWORK = {"name": "preresnet", "depth": 8, "width": 2, "num_classes": 10}
NETWORK |= {"input_shape": [1, 8, 8]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The first checkpoint of a tiny residual network, and its spectra by batch statistics."""
    base = tmp_path_factory.mktemp("batchnorm")
    for name in ("tables", "figures"):
        (base / name).mkdir()
    data = catalogue.fetch("digits", train_examples=96, test_examples=64)
    dataset.save(base / "dataset.safetensors", data)
    model = registry.build(**NETWORK, seed=0)
    metadata = {"model": NETWORK, "epoch": 0, "seed": 0}
    checkpoints.save(base / "0.safetensors", model, metadata=metadata)
    settings = {**PRODUCTS, "precision": "float64", "steps": 30, "probes": 1, "seed": 0}
    settings |= {"loss": "cross_entropy", "parameters": None, "weight_decay": 0.0}
    call(
        "measure_batchnorm_spectra",
        str(base / "0.safetensors"),
        str(base / "dataset.safetensors"),
        spectra_out=[str(base / f"batchnorm-{size}.npz") for size in SIZES],
        settings=settings,
        chunk_sizes=list(reversed(SIZES)),
        network=None,
        epoch=0,
    )
    return base


def product_by_batch_statistics(model, examples, size):
    """H v by double backward through a network in training mode, chunk after chunk."""
    model = copy.deepcopy(model).double().train()
    parameters = list(model.parameters())
    order = sum(parameter.numel() for parameter in parameters)

    def product(vector):
        direction = torch.from_numpy(vector).reshape(-1)
        total = torch.zeros(order, dtype=torch.float64)
        for begin in range(0, len(examples), size):
            chunk = slice(begin, min(begin + size, len(examples)))
            images, labels = examples.batch(chunk, torch.float64)
            loss = F.cross_entropy(model(images), labels, reduction="sum") / len(examples)
            gradient = torch.autograd.grad(loss, parameters, create_graph=True)
            flat = torch.cat([part.reshape(-1) for part in gradient])
            second = torch.autograd.grad(flat @ direction, parameters)
            total += torch.cat([part.reshape(-1) for part in second])
        return total.numpy()

    return scipy.sparse.linalg.LinearOperator((order, order), matvec=product, dtype="float64")


@pytest.mark.parametrize("size", SIZES)
def test_extremes_are_those_of_a_network_in_training_mode_on_chunks_of_this_size(folder, size):
    measured = spectrum.load(folder / f"batchnorm-{size}.npz")
    assert (measured.metadata["batchnorm"], measured.metadata["chunk_size"]) == ("train", size)
    examples = dataset.load(folder / "dataset.safetensors").train
    operator = product_by_batch_statistics(
        checkpoints.load(folder / "0.safetensors"), examples, size
    )
    for end, which in (("largest", "LA"), ("smallest", "SA")):
        (reference,) = scipy.sparse.linalg.eigsh(
            operator, k=1, which=which, tol=1e-8, return_eigenvectors=False
        )
        assert spectrum.extremal(measured, end)[0] == pytest.approx(reference, rel=1e-5)


def test_the_chunk_size_is_a_part_of_the_matrix(folder):
    one, other = (spectrum.load(folder / f"batchnorm-{size}.npz") for size in SIZES)
    assert abs(one.ritz_values[0, -1] / other.ritz_values[0, -1] - 1) > 1e-3


def test_both_modes_stand_side_by_side_in_a_table_and_a_figure(folder):
    names = [f"stem-batchnorm-{size}-0" for size in SIZES]
    call(
        "compare_batchnorm",
        [str(folder / "batchnorm-32.npz")],  # in the place of the full spectrum
        [str(folder / f"batchnorm-{size}.npz") for size in SIZES],
        table_out=table(folder, "batchnorm"),
        figures_out=[path for name in names for path in figure(folder, name)],
        formats=["svg", "png"],
    )
    frame = pd.read_csv(folder / "tables/batchnorm.csv")
    assert frame["chunk_size"].tolist() == [32, 32, 40, 40]
    assert frame["ratio"].tolist()[:2] == [1.0, 1.0]
    for name in names:
        for path in figure(folder, name):
            assert (folder / "figures" / path).stat().st_size > 1000


def test_the_ratio_is_that_of_batch_to_running_statistics():
    running = [make_spectrum([[-1.0, 2.0]], epoch=epoch) for epoch in (0, 5)]
    batch = [make_spectrum([[-4.0, 20.0]], epoch=5, chunk_size=64, num_examples=200)]
    frame = summary.batchnorm(running, batch)
    assert list(frame.columns) == list(summary.BATCHNORM_COLUMNS)
    assert frame["end"].tolist() == ["largest", "smallest"]
    assert frame[["running", "batch", "ratio"]].to_numpy().tolist() == [[2, 20, 10], [-1, -4, 4]]
    assert frame["running_residual"].tolist() == pytest.approx([0.2, 0.1])
    assert frame["batch_residual"].tolist() == pytest.approx([2.0, 0.4])


def test_stacked_spectra_share_their_axes_and_show_all_extremes():
    values, weights = np.array([[-1.0, 0.0, 3.0]]), np.array([[1e-6, 0.9, 1e-4]])
    spectra = {"one": (values, weights), "other": (10 * values, weights)}
    drawn = plots.stacked_stems(spectra, "both")
    one, other = drawn.axes
    assert one.get_xlim() == other.get_xlim()
    assert one.get_yscale() == other.get_yscale() == "log"
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["one", "other"]
    said = {text.get_text() for axes in drawn.axes for text in axes.texts}
    assert said == {"−1", "3", "−10", "30"}


@pytest.mark.parametrize("spectra", [{}, {"one": (np.ones((1, 2)), np.zeros((1, 2)))}])
def test_nothing_to_stack_is_refused(spectra):
    with pytest.raises(ValueError, match="at least one, each with a positive weight"):
        plots.stacked_stems(spectra)
