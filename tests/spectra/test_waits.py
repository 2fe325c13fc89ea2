"""A step of all recurrences waits for the device once, and goes on as on a CPU."""

import contextlib

import fake_cuda
import numpy as np
import pytest
import torch
from test_lanczos import SPECTRA, matrix_with, row_by_row

from truehessian.operators import GGN, DiagonalBlocks, Hessian
from truehessian.operators.folds import Folds
from truehessian.spectra import orthogonalise as gram_schmidt
from truehessian.spectra.lanczos import (
    orthogonality,
    probe_vector,
    tridiagonalise_block,
    tridiagonalise_each,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def waits_of(multiply, order, count, steps, **how):
    starts = [probe_vector(order, 0, number) for number in range(count)]
    with fake_cuda.waits() as waits:
        tridiagonalise_block(multiply, starts, steps, device="cuda", **how)
    return len(waits)


@DTYPES
@pytest.mark.parametrize("count", [1, 4])
def test_a_step_of_all_recurrences_waits_once(dtype, count):
    with fake_cuda.installed():
        matrix = matrix_with(SPECTRA["geometric"], 0).to("cuda", dtype)
        waits = [waits_of(row_by_row(matrix), 40, count, m, dtype=dtype) for m in (4, 13)]
    assert waits[1] - waits[0] == 13 - 4


@pytest.mark.parametrize("memory", [0, None])
@pytest.mark.parametrize("count", [1, 4])
def test_so_does_a_step_with_the_hessian_of_a_network(memory, count):
    """Graphs made anew, or kept; after the first product, before which much is looked at."""
    with fake_cuda.installed():
        model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
        data = torch.randn(12, 5).cuda(), torch.arange(12).cuda() % 3
        hessian = Hessian(model.cuda(), data, chunk_size=5, memory=memory)
        how = {"order": hessian.num_params, "count": count, "dtype": hessian.dtype}
        hessian.matmat(torch.ones(count, hessian.num_params).cuda())
        with hessian.unwatched():
            waits = [waits_of(hessian.matmat, steps=m, **how) for m in (4, 13)]
    assert waits[1] - waits[0] == 13 - 4


@pytest.mark.parametrize("kind", [Hessian, GGN])
@pytest.mark.parametrize("what", ["batches", "one of them finished", "layers", "two of each"])
def test_so_does_a_step_of_batches_in_one_graph_and_of_layers(kind, what):
    """Their vectors have one graph, and those that a layer has are known without a look."""
    with fake_cuda.installed():
        model = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 7))
        inputs, targets = torch.randn(40, 9).cuda(), torch.arange(40).cuda() % 7
        whole = kind(model.cuda(), (inputs, targets), chunk_size=20)
        if what in ("layers", "two of each"):
            operators = [DiagonalBlocks(whole, "layers")]
            names = list(operators[0].groups) * (1 + (what == "two of each"))
            orders = [operators[0].groups[name] for name in names]

            def multiply(vectors):
                return operators[0].products((names[i], v) for i, v in vectors.items())
        else:
            pairs = zip(inputs.split(10), targets.split(10), strict=True)
            folds = Folds(whole, list(pairs))
            (group,) = folds.groups()
            operators, multiply = folds.operators, group.products
            orders = [whole.num_params] * 4

        def waits(steps):
            starts = [probe_vector(order, 0, number) for number, order in enumerate(orders)]
            each = [steps] * len(starts)
            each[0] = 2 if what == "one of them finished" else steps
            with fake_cuda.waits() as waits, contextlib.ExitStack() as unwatched:
                for operator in operators:
                    unwatched.enter_context(operator.unwatched())
                how = {"dtype": whole.dtype, "device": "cuda"}
                tridiagonalise_each(multiply, starts, each, **how)
            return len(waits)

        waits(3)
        assert waits(9) - waits(4) == 9 - 4


@pytest.mark.parametrize("room", ["all", "two", "none"])
@DTYPES
def test_recurrences_that_go_on_together_are_those_of_the_cpu(dtype, room, monkeypatch):
    """Of two orders, of several lengths, ending one by one: in one group, in pairs, and alone."""
    bytes_of_two = 2 * 8 * 40 * 30
    sizes = {"all": 256 << 20, "two": bytes_of_two, "none": 0}
    monkeypatch.setitem(gram_schmidt._WHOLE_COPY, "cuda", sizes[room])
    spectra = ["geometric", "linear", "geometric", "repeated", "linear"]
    matrices = [matrix_with(SPECTRA[name], seed).to(dtype) for seed, name in enumerate(spectra)]
    matrices += [matrix_with(np.arange(9.0), 0).to(dtype)]
    starts = [probe_vector(len(matrix), 0, number) for number, matrix in enumerate(matrices)]
    steps = [30, 30, 12, 30, 30, 9]

    def run(matrices, **how):
        def multiply(vectors):
            return [matrices[number] @ vector for number, vector in vectors.items()]

        return tridiagonalise_each(multiply, starts, steps, dtype=dtype, tolerance=1e-4, **how)

    expected = run(matrices)
    with fake_cuda.installed():
        found = run([matrix.cuda() for matrix in matrices], device="cuda")
        loss = [orthogonality(each) for each in found]
    assert len({each.num_steps for each in expected}) > 2
    rounding = {torch.float32: 2e-6, torch.float64: 1e-12}[dtype]
    for own, other, lost in zip(expected, found, loss, strict=True):
        assert own.num_steps == other.num_steps
        scale = np.abs(own.diagonal).max()
        # Behind a breakdown the recurrence goes on with what rounding has left, or at random.
        first = own.off_diagonal < 1e-5 * scale
        whole = int(np.argmax(first)) + 1 if first.any() else own.num_steps
        assert own.diagonal[:whole] == pytest.approx(other.diagonal[:whole], abs=rounding * scale)
        assert lost < {torch.float32: 1e-6, torch.float64: 1e-13}[dtype]


def test_what_is_not_finite_in_one_of_several_names_the_step():
    matrix = matrix_with(SPECTRA["linear"], 0)
    calls = []

    def multiply(block):
        calls.append(len(block))
        products = row_by_row(matrix)(block)
        if len(calls) == 3:
            products[1, 7] = float("inf")
        return products

    starts = [probe_vector(40, 0, probe) for probe in range(3)]
    with pytest.raises(FloatingPointError, match="the product of step 3 holds NaN or infinity"):
        tridiagonalise_block(multiply, starts, 9)
