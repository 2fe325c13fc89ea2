"""What operators do beside what `conformance` and the tables of cases say of all of them."""

import gc
import weakref

import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from cases import Convolutional, Smooth, examples, network
from dense import dense_ggn, dense_hessian
from torch import nn

from truehessian.operators import GGN, Hessian, Stream
from truehessian.operators.memory import SavedBytes

NETWORKS = {"convolutional": Convolutional, "smooth": Smooth}
KINDS = {"hessian": (Hessian, dense_hessian), "ggn": (GGN, dense_ggn)}


@pytest.fixture(params=NETWORKS)
def model(request):
    return network(NETWORKS[request.param])


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def close(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("memory", [None, 0])
def test_graphs_are_kept_where_memory_suffices(model, kind, memory):
    operator = kind[0](model, examples(10), chunk_size=4, memory=memory)
    operator @ torch.ones(operator.num_params)
    assert operator.describe()["graph_kept"] is (memory is None)


class Unreached(nn.Module):
    """Has parameters before, between and after the others that the loss does not depend on."""

    def __init__(self):
        super().__init__()
        self.before = nn.Linear(5, 4)
        self.first = nn.Linear(16, 3)
        self.between = nn.Linear(2, 3)
        self.second = nn.Linear(3, 3)
        self.after = nn.Linear(3, 4)

    def forward(self, inputs):
        return self.second(torch.tanh(self.first(inputs.flatten(1))))


def test_parameters_that_the_loss_does_not_reach_have_zero_rows(kind):
    operator_class, dense = kind
    model, data = network(Unreached), examples(6)
    operator = operator_class(model, data, precision="float64")
    block = torch.randn(4, operator.num_params, dtype=torch.float64)  # as many as `before` has rows
    exact = block @ dense(model, *data)
    assert (exact == 0).all(dim=0).any()
    close(operator.matmat(block), exact)
    close(torch.stack([operator @ vector for vector in block]), exact)


def test_products_leave_the_model_untouched(model, kind):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    model.train()
    for batchnorm in ("eval", "train"):
        operator = kind[0](model, examples(6), precision="float64", batchnorm=batchnorm)
        operator @ torch.ones(operator.num_params)
    assert model.training
    assert flags == [(p.requires_grad, p.grad) for p in model.parameters()]
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_batch_statistics_give_the_matrix_of_their_chunks():
    model = network(Convolutional)
    data = examples(8)
    operator = Hessian(model, data, batchnorm="train", precision="float64", chunk_size=4)
    vector = torch.randn(operator.num_params, dtype=torch.float64)
    reference = torch.zeros_like(vector)
    for part in (slice(0, 4), slice(4, 8)):
        twin = network(Convolutional)
        twin.eval().requires_grad_(True)
        twin.norm.train()
        loss = F.cross_entropy(twin(data[0][part]), data[1][part])
        gradients = torch.autograd.grad(
            loss,
            list(twin.parameters()),
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        flat = torch.cat([g.reshape(-1) for g in gradients])
        product = torch.autograd.grad(
            flat @ vector, list(twin.parameters()), allow_unused=True, materialize_grads=True
        )
        reference += 0.5 * torch.cat([p.reshape(-1) for p in product])
    close(operator @ vector, reference)


def test_restriction_to_parameters_is_a_diagonal_block(model, kind):
    operator_class, dense = kind
    data = examples(6)
    patterns = ["head.*", "3.*"]
    names = [(name, parameter.numel()) for name, parameter in model.named_parameters()]
    mask = torch.cat(
        [torch.full((size,), name.startswith(("head.", "3."))) for name, size in names]
    )
    operator = operator_class(model, data, parameters=patterns, precision="float64")
    block = dense(model, *data)[mask][:, mask]
    close(operator @ torch.eye(len(block)), block)


def test_scipy_finds_the_same_extremes(model):
    hessian = Hessian(model, examples(6), precision="float64")
    largest = scipy.sparse.linalg.eigsh(hessian.to_scipy(), k=1, which="LA")[0]
    reference = torch.linalg.eigvalsh(dense_hessian(model, *examples(6)))
    close(torch.from_numpy(largest), reference[-1:], 1e-8)


def test_float32_products_are_accurate_to_float32(model, kind):
    data = examples(8)
    vector = torch.randn(kind[0](model, data).num_params, dtype=torch.float64)
    single = kind[0](model, data, precision="float32") @ vector
    double = kind[0](model, data, precision="float64") @ vector
    assert single.dtype == torch.float64
    assert (single - double).norm() < 1e-5 * double.norm()
    assert (single - double).norm() > 0


def test_memory_is_released_with_the_operator(model):
    operator = Hessian(model, examples(6))
    operator @ torch.ones(operator.num_params)
    alive = weakref.ref(operator)
    del operator
    gc.collect()
    assert alive() is None


def test_graphs_whose_memory_was_counted_are_released(model):
    """A hook on saved tensors that returns them makes a cycle that nothing collects."""
    seen = []
    add = SavedBytes.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SavedBytes,
            "add",
            lambda self, tensor: seen.append(weakref.ref(tensor)) or add(self, tensor),
        )
        operator = Hessian(model, examples(6), precision="float64")
        operator @ torch.ones(operator.num_params)
    assert seen
    del operator
    gc.collect()
    parameters = {id(parameter) for parameter in model.parameters()}
    left = [reference() for reference in seen]
    assert not [tensor for tensor in left if tensor is not None and id(tensor) not in parameters]


@pytest.mark.parametrize(
    ("example", "words"), [(7, r"chunk 3 \(examples 6 to 8\)"), (0, r"chunk 1 \(examples 0 to 2\)")]
)
def test_nan_in_a_product_names_the_chunk(model, example, words):
    inputs, targets = examples(9)
    inputs[example] = float("nan")
    operator = Hessian(model, (inputs, targets), chunk_size=3)
    with pytest.raises(FloatingPointError, match=words):
        operator @ torch.ones(operator.num_params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"precision": "bfloat16"}, "precision must be one of"),
        ({"batchnorm": "frozen"}, "batchnorm must be"),
        ({"parameters": ["no.such.*"]}, "no parameter matches"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Hessian(network(Smooth), examples(4), **arguments)


def test_wrong_shapes_are_refused():
    operator = Hessian(nn.Linear(2, 2), (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)))
    with pytest.raises(ValueError, match=r"expected a vector \(6,\)"):
        operator @ torch.zeros(5)
    with pytest.raises(ValueError, match="at least one example"):
        Hessian(nn.Linear(2, 2), (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)))


class Loader:
    """Batches that a function of the number of the pass makes."""

    def __init__(self, batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches(self.passes))


def test_a_stream_gives_the_matrix_of_its_examples(kind):
    operator_class, dense = kind
    model, (inputs, targets) = network(Smooth), examples(7)
    stream = Stream(Loader(lambda _: [(inputs[:5], targets[:5]), (inputs[5:], targets[5:])]))
    operator = operator_class(model, stream, precision="float64", memory=0)
    for _ in range(2):
        close(operator @ torch.eye(operator.num_params), dense(model, inputs, targets))


def shuffled(number):
    inputs, targets = examples(6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(number))
    return [(inputs[order[:3]], targets[order[:3]]), (inputs[order[3:]], targets[order[3:]])]


def augmented(number):
    inputs, targets = examples(6)
    return [(inputs + number, targets)]


def growing(number):
    inputs, targets = examples(6)
    return [(inputs, targets)] * number


@pytest.mark.parametrize(
    ("batches", "cause"),
    [(shuffled, "switch shuffling off"), (augmented, "augmentation off"), (growing, "gave 1 bat")],
)
def test_a_stream_that_changes_is_refused_with_the_cause(batches, cause):
    passes = Loader(batches)
    if batches is growing:
        passes = Loader(lambda number: growing(3 - number))
    operator = Hessian(network(Smooth), Stream(passes), memory=0)
    with pytest.raises(ValueError, match=cause):
        operator @ torch.ones(operator.num_params)
    with pytest.raises(TypeError, match="got an iterator"):
        Stream(iter(passes))


class Dropping(Smooth):
    """Draws random numbers whatever the mode."""

    def forward(self, inputs):
        return super().forward(F.dropout(inputs, training=True))


class Counting(Smooth):
    """Changes at every call."""

    calls = 0

    def forward(self, inputs):
        Counting.calls += 1
        return super().forward(inputs) * Counting.calls


@pytest.mark.parametrize(
    ("architecture", "cause"),
    [(Dropping, "draws random numbers"), (Counting, "state of its own")],
)
def test_a_network_that_does_not_repeat_is_refused_with_the_cause(architecture, cause):
    operator = Hessian(network(architecture), examples(6))
    with pytest.raises(ValueError, match=cause):
        operator @ torch.ones(operator.num_params)


class Hungry(Smooth):
    """Runs out of memory with more than a few examples, or once a number of calls is used up."""

    room = 3

    def forward(self, inputs):
        if len(inputs) > self.room and inputs.requires_grad is False and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


def test_out_of_memory_is_met_by_smaller_pieces(kind, caplog):
    operator_class, dense = kind
    model, data = network(Hungry), examples(11)
    operator = operator_class(model, data, precision="float64", chunk_size=8)
    for _ in range(2):
        close(operator @ torch.eye(operator.num_params), dense(network(Smooth), *data))
    assert operator.describe()["examples_at_once"] == 2
    assert not operator.describe()["graph_kept"]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "out of memory: going on with 4 examples at once",
        "out of memory: going on with 2 examples at once",
    ]


@pytest.mark.parametrize(
    ("batchnorm", "room", "remedy"), [("train", 3, "smaller chunk_size"), ("eval", 0, "free some")]
)
def test_too_little_memory_for_anything_is_said(monkeypatch, batchnorm, room, remedy):
    monkeypatch.setattr(Hungry, "room", room)
    operator = Hessian(network(Hungry), examples(8), chunk_size=8, batchnorm=batchnorm)
    with pytest.raises(torch.OutOfMemoryError, match=remedy):
        operator @ torch.ones(operator.num_params)


def test_out_of_memory_with_kept_graphs_goes_on_without(monkeypatch):
    model, data = network(Smooth), examples(10)
    operator = Hessian(model, data, precision="float64", chunk_size=3)
    vector = torch.randn(operator.num_params, dtype=torch.float64)
    before = operator @ vector
    apply, calls = operator._apply, []

    def failing(graph, vector, keep):
        calls.append(keep)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return apply(graph, vector, keep)

    monkeypatch.setattr(operator, "_apply", failing)
    assert torch.equal(operator @ vector, before)
    assert calls == [True, True, True, False, False]
    assert not operator.describe()["graph_kept"]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    inputs, targets = examples(4)
    operator = Hessian(network(Smooth), (inputs[:, :, :2], targets))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        operator @ torch.ones(operator.num_params)


@pytest.mark.parametrize("budget", [None, 0], ids=["graph kept", "graph anew"])
def test_memory_is_flat_over_products(model, kind, budget):
    operator = kind[0](model, examples(8), chunk_size=4, memory=budget)
    vector = torch.ones(operator.num_params)

    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    for _ in range(2):
        operator @ vector
    before = tensors()
    for _ in range(50):
        operator @ vector
    assert tensors() == before
