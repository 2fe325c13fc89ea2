"""Products that are recorded and replayed, with a stand-in for CUDA graphs, and with the real ones.

The stand-in does what it has recorded again, on the memory that it was recorded with; so whatever
does not lie where it lay is missing from what it gives.
"""

import contextlib

import pytest
import torch
from cases import CASES

from truehessian.operators import GGN, Hessian, graphs, replay
from truehessian.operators.folds import Folds

COUNT, SIZE = 12, 4


class Rerun:
    """Calls a function again, and writes what it gives over what it gave the first time."""

    def __init__(self):
        self.entered = self.recorded = 0

    @contextlib.contextmanager
    def aside(self):
        self.entered += 1
        yield

    def record(self, function):
        self.recorded += 1
        cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
        owner = cells["self"].cell_contents
        function()
        first = [part.clone() for part in owner._outputs]
        owner._outputs = first

        def again():
            for own, part in zip(first, owner._apply(owner._inputs), strict=True):
                own.copy_(part)

        return again


class Stale(Rerun):
    """A recording that does not follow its input."""

    def record(self, function):
        super().record(function)
        return lambda: None


class Failing(Rerun):
    def record(self, function):
        self.recorded += 1
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture(params=[Rerun, Stale, Failing])
def recorder(request, monkeypatch):
    made = request.param()
    monkeypatch.setattr(graphs, "recorder_of", lambda device: made)
    return made


@pytest.mark.parametrize("kind", [Hessian, GGN])
@pytest.mark.parametrize("name", ["convolutional", "normalised", "attention"])
def test_replayed_products_are_those_of_the_graph(kind, name, recorder, caplog):
    case = CASES[name]
    how = {"loss": case.loss, "chunk_size": 5, "precision": "float64"}
    operator = kind(case.model(), case.data(COUNT), **how)
    vectors = torch.randn(6, operator.num_params, dtype=torch.float64)
    products = [operator.matvec(vector) for vector in vectors]
    assert recorder.recorded == 3  # once for each chunk
    assert recorder.entered >= 18
    assert ("products are not recorded" in caplog.text) == (type(recorder) is not Rerun)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "recorder_of", lambda device: None)
        plain = kind(case.model(), case.data(COUNT), **how)
    for product, vector in zip(products, vectors, strict=True):
        torch.testing.assert_close(product, plain.matvec(vector), rtol=1e-12, atol=1e-14)


def test_batches_in_one_graph_are_replayed_too(recorder):
    case = CASES["convolutional"]
    inputs, targets = case.data(COUNT)
    batches = list(zip(inputs.split(SIZE), targets.split(SIZE), strict=True))
    folds = Folds(Hessian(case.model(), batches[0], precision="float64"), batches)
    (group,) = folds.groups()
    for seed in range(5):
        torch.manual_seed(seed)
        vectors = torch.randn(len(batches), folds.operators[0].num_params, dtype=torch.float64)
        products = group.products(dict(enumerate(vectors)))
        for operator, product, vector in zip(folds.operators, products, vectors, strict=True):
            torch.testing.assert_close(product, operator.matvec(vector), rtol=1e-10, atol=1e-12)
    assert recorder.recorded >= 1


def test_graphs_that_are_not_kept_are_not_recorded(recorder):
    case = CASES["smooth"]
    operator = Hessian(case.model(), case.data(COUNT), memory=0)
    for _ in range(4):
        operator.matvec(torch.ones(operator.num_params))
    assert recorder.recorded == 0


def test_nothing_records_on_a_cpu(monkeypatch):
    assert replay.recorder_of(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setenv(replay.VARIABLE, "0")
    assert replay.recorder_of(torch.device("cuda:0")) is None


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [Hessian, GGN])
@pytest.mark.parametrize("name", ["convolutional", "normalised", "smooth"])
def test_cuda_graphs_give_the_products_of_the_kept_graph(kind, name, monkeypatch, caplog):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, and PyTorch sees none")
    case = CASES[name]
    how = {"loss": case.loss, "chunk_size": 5, "precision": "float64", "device": "cuda"}
    recorded = kind(case.model(), case.data(COUNT), **how)
    monkeypatch.setenv(replay.VARIABLE, "0")
    plain = kind(case.model(), case.data(COUNT), **how)
    for vector in torch.randn(8, recorded.num_params, dtype=torch.float64):
        got, exact = recorded.matvec(vector.cuda()), plain.matvec(vector.cuda())
        torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-12)
    assert "products are not recorded" not in caplog.text
