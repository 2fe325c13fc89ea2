"""Batches in one graph: each product is that of the batch by itself, differentiated plainly."""

import logging

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Case, examples
from dense import dense_ggn, dense_hessian
from sequences import NETWORKS
from torch import nn

from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.operators import GGN, EmpiricalFisher, Hessian, folds as folding, stack
from truehessian.operators.autograd import folded_layers
from truehessian.operators.batches import TensorData
from truehessian.operators.chunkwise import products_by_chunk
from truehessian.operators.folds import Folds

PROBLEMS = {**CASES, **{name: Case(make) for name, make in NETWORKS.items()}}
# What there are rules for that know of batches; of all others batches go one by one.
TOGETHER = {
    "convolutional", "smooth", "normalised", "label smoothing", "squares", "binary",
    "pixels", "SharedNormalisation", "Preactivated", "ByKeywords", "Embedded", "InPlaceReLU",
    "used_before_and_behind", "concatenated", "gated", "rectified_twice",
}  # fmt: skip
BATCHES, SIZE = 3, 4


def close(got, exact):
    scale = exact.abs().max().item()
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10 * scale)


def batches_of(case, count=BATCHES, size=SIZE):
    inputs, targets = case.data(count * size)
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def folds_of(kind, case, model, batches, **settings):
    settings = {"loss": case.loss, "precision": "float64", "chunk_size": 3, **settings}
    return Folds(kind(model, batches[0], **settings), batches)


def check(folds, exact):
    """Compare products of all batches, each with other vectors, with its exact matrix.

    Gives the numbers of those that have gone in one graph.
    """
    count = folds.operators[0].num_params
    generator = torch.Generator().manual_seed(1)
    together = []
    for group in folds.groups():
        together.append(group.numbers)
        for _ in range(2):
            vectors = {
                number: torch.randn(count, generator=generator, dtype=torch.float64)
                for number in group.numbers
            }
            for number, product in zip(group.numbers, group.products(vectors), strict=True):
                close(product, exact[number] @ vectors[number])
    return together


def dense_of(case, model, batches, dense=dense_hessian):
    return [dense(model, *batch, case.loss) for batch in batches]


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_batch_has_the_matrix_of_plain_differentiation(name):
    case = PROBLEMS[name]
    model, batches = case.model(), batches_of(case)
    together = check(folds_of(Hessian, case, model, batches), dense_of(case, model, batches))
    if name in TOGETHER:
        assert together == [[0, 1, 2]]


@pytest.mark.parametrize("name", sorted(TOGETHER & set(PROBLEMS)))
def test_gauss_newton_matrices_go_in_one_graph_as_well(name):
    case = PROBLEMS[name]
    model, batches = case.model(), batches_of(case)
    exact = dense_of(case, model, batches, dense_ggn)
    assert check(folds_of(GGN, case, model, batches), exact) == [[0, 1, 2]]


def test_the_table_of_what_goes_together_names_problems():
    assert set(PROBLEMS) >= TOGETHER


class TransformerHead(nn.Module):
    """Tokens, positions by broadcasting an example's axis, layer and group norms, a tied table."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4, padding_idx=0)
        self.norm, self.groups = nn.LayerNorm(4), nn.GroupNorm(2, 6)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        hidden = self.groups(self.norm(self.table(tokens)))
        q, k, v = self.qkv(hidden).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(hidden + self.out(mixed.transpose(1, 2).flatten(2)))


def drawn(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, (count, 6), generator=generator)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("kind", [Hessian, GGN])
def test_tokens_and_losses_with_weights_go_in_one_graph(kind, ignored):
    """With targets that are left out batches have different weights, and chunks too.

    What a batch's matrix by itself is with weights, is tested by definition elsewhere.
    """
    torch.manual_seed(0)
    model = TransformerHead().double()
    batches = []
    for number in range(BATCHES):
        targets = drawn(SIZE, seed=10 + number)
        if ignored:
            targets[number % SIZE, number:] = -100
        batches.append((drawn(SIZE, seed=number), targets))
    case = Case(TransformerHead, CrossEntropy())
    exact = [kind(model, batch, loss=case.loss, precision="float64") for batch in batches]
    assert check(folds_of(kind, case, model, batches), exact) == [[0, 1, 2]]


@pytest.mark.parametrize("kind", [Hessian, GGN])
def test_batches_whose_examples_count_alike_may_count_otherwise_than_each_other(kind):
    """With weights of classes, where each batch is of one class."""
    case = CASES["smooth"]._replace(loss=CrossEntropy(weight=[0.5, 2.0, 1.0]))
    model, batches = case.model(), batches_of(case)
    batches = [
        (inputs, torch.full_like(targets, number))
        for number, (inputs, targets) in enumerate(batches)
    ]
    exact = [kind(model, batch, loss=case.loss, precision="float64") for batch in batches]
    assert check(folds_of(kind, case, model, batches), exact) == [[0, 1, 2]]


class TimeFirst(nn.Module):
    """Takes examples along its second axis, where a rule would count them along the first."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(12, 3)

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs[:, 0].transpose(0, 1)))
        return self.last(hidden.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_examples_along_another_axis_go_one_by_one(size, caplog):
    """Four rows of an image are as many as two examples of two batches, so lengths do not tell."""
    caplog.set_level(logging.INFO)
    case = Case(TimeFirst)
    torch.manual_seed(0)
    model, batches = case.model(), batches_of(case, 4, size)
    together = check(folds_of(Hessian, case, model, batches), dense_of(case, model, batches))
    assert together == [[0], [1], [2], [3]]
    assert "batches are multiplied one by one, since" in caplog.text


WRONG = {
    "convolution": (folded_layers.FoldedConvolution, "forward"),
    "its gradient": (folded_layers.FoldedConvolution, "backward"),
    "linear layer": (folded_layers.FoldedProduct, "backward"),
    "normalisation": (folded_layers.FoldedStatistics, "forward"),
    "scale": (folded_layers.FoldedStatistics, "scaled"),
}


@pytest.mark.parametrize("where", WRONG)
def test_a_rule_that_is_wrong_is_found_before_the_first_product(where, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    owner, method = WRONG[where]
    right = getattr(owner, method)

    def wrong(*args):
        made = right(*args)
        if isinstance(made, torch.Tensor):
            return made.roll(1, 0)
        return tuple(None if part is None else part.roll(1, 0) for part in made)

    monkeypatch.setattr(owner, method, wrong)
    case = PROBLEMS["Preactivated"]
    model, batches = case.model(), batches_of(case)
    together = check(folds_of(Hessian, case, model, batches), dense_of(case, model, batches))
    assert together == [[0], [1], [2]]
    assert "deviate from plain ones by" in caplog.text


def test_batches_of_other_sizes_have_a_graph_of_their_own():
    case = CASES["smooth"]
    inputs, targets = case.data(13)
    sizes = [4, 2, 4, 3]
    batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    folds = folds_of(Hessian, case, case.model(), batches)
    assert [group.numbers for group in folds.groups()] == [[0, 2], [1], [3]]
    assert [group.numbers for group in folds.groups([3, 2, 0])] == [[3], [2, 0]]
    assert [group.numbers for group in folds.groups([2, 0], most=1)] == [[2], [0]]


def test_as_many_go_together_as_memory_suffices_for(caplog):
    caplog.set_level(logging.INFO)
    case = CASES["convolutional"]
    model, batches = case.model(), batches_of(case, 7)
    everything = folds_of(Hessian, case, model, batches)
    verdict = everything._verdict("all", everything.operators)
    each = verdict.bytes_per_example * SIZE * 1.5
    assert each > 0
    folds = folds_of(Hessian, case, model, batches, memory=3.5 * each)
    assert [len(group.numbers) for group in folds.groups()] == [3, 3, 1]
    assert "3 batches go in one graph at a time, of 7" in caplog.text
    folds = folds_of(Hessian, case, model, batches, memory=1.5 * each)
    assert [len(group.numbers) for group in folds.groups()] == [1] * 7


def test_batches_of_a_kind_are_compared_once(monkeypatch):
    compared = []
    examine = folding.stack_twin.examine
    monkeypatch.setattr(
        folding.stack_twin, "examine", lambda *given: compared.append(given) or examine(*given)
    )
    case = CASES["smooth"]
    inputs, targets = case.data(20)
    sizes = [4, 4, 4, 2, 2, 4]
    batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    folds = folds_of(Hessian, case, case.model(), batches)
    for _ in range(2):
        assert [group.numbers for group in folds.groups()] == [[0, 1, 2, 5], [3, 4]]
    more = folds.with_more([folds.operators[0].with_data(TensorData(*batches[3]), SIZE)])
    assert [group.numbers for group in more.groups()] == [[0, 1, 2, 5], [3, 4, 6]]
    assert len(compared) == 2


def test_large_batches_go_one_by_one():
    case = CASES["convolutional"]
    model, batches = case.model(), batches_of(case)
    operator = Hessian(model, batches[0], loss=case.loss)
    assert len(Folds(operator, batches, small=10).groups()) == BATCHES
    assert len(Folds(operator, batches).groups()) == 1


@pytest.mark.parametrize(
    ("kind", "settings"), [(EmpiricalFisher, {}), (Hessian, {"batchnorm": "train"})]
)
def test_matrices_without_such_a_graph_go_one_by_one(kind, settings):
    case = CASES["convolutional"]
    model, batches = case.model(), batches_of(case)
    folds = folds_of(kind, case, model, batches, chunk_size=SIZE, **settings)
    assert len(folds.groups()) == BATCHES
    vector = torch.randn(folds.operators[0].num_params, dtype=torch.float64)
    for group, batch in zip(folds.groups(), batches, strict=True):
        settings = {"precision": "float64", "chunk_size": SIZE, **settings}
        alone = kind(model, batch, loss=case.loss, **settings)
        close(group.products({group.numbers[0]: vector})[0], alone.matvec(vector))


def test_a_graph_shrinks_with_the_batches_that_are_left(monkeypatch):
    sizes = []
    made = stack.Stack.__init__

    def counted(self, operators, network):
        sizes.append(len(operators))
        made(self, operators, network)

    monkeypatch.setattr(stack.Stack, "__init__", counted)
    case = CASES["smooth"]
    model, batches = case.model(), batches_of(case, 6)
    folds = folds_of(Hessian, case, model, batches)
    (group,) = folds.groups()
    vector = torch.randn(folds.operators[0].num_params, dtype=torch.float64)
    for left in ([0, 1, 2, 3, 4, 5], [5, 1, 2, 4], [1, 2, 4], [2, 4], [4]):
        products = group.products({number: (1 + number) * vector for number in left})
        for number, product in zip(left, products, strict=True):
            exact = dense_hessian(model, *batches[number], case.loss) @ vector
            close(product, (1 + number) * exact)
    assert sizes == [6, 3]


def test_where_memory_runs_out_after_all_batches_go_one_by_one(monkeypatch, caplog):
    case = CASES["smooth"]
    model, batches = case.model(), batches_of(case)
    folds = folds_of(Hessian, case, model, batches)
    (group,) = folds.groups()

    def short(self, block):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stack.Stack, "products", short)
    vector = torch.randn(folds.operators[0].num_params, dtype=torch.float64)
    products = group.products(dict.fromkeys(range(BATCHES), vector))
    assert "batches are multiplied one by one from here on" in caplog.text
    for product, batch in zip(products, batches, strict=True):
        close(product, dense_hessian(model, *batch, case.loss) @ vector)


def test_all_matrices_multiply_the_same_vectors_with_their_penalty():
    case = CASES["convolutional"]
    model, batches = case.model(), batches_of(case)
    folds = folds_of(Hessian, case, model, batches, weight_decay=0.25)
    assert len(folds.groups()) == 1
    block = torch.randn(2, folds.operators[0].num_params, dtype=torch.float64)
    products = folds.products_of_all(block)
    assert products.shape == (BATCHES, *block.shape)
    for product, batch in zip(products, batches, strict=True):
        exact = dense_hessian(model, *batch, case.loss)
        close(product, block @ exact + 0.25 * block)


def test_single_precision_is_single_precision():
    case = CASES["convolutional"]
    model, batches = case.model(), batches_of(case)
    folds = folds_of(Hessian, case, model, batches, precision="float32")
    (group,) = folds.groups()
    vector = torch.randn(folds.operators[0].num_params)
    products = group.products(dict.fromkeys(range(BATCHES), vector))
    for product, batch in zip(products, batches, strict=True):
        exact = dense_hessian(model, *batch, case.loss) @ vector.double()
        assert product.dtype == torch.float64
        assert (product - exact).norm() < 1e-5 * exact.norm()


def test_restricted_matrices_share_what_they_do_not_differentiate_by():
    case = CASES["convolutional"]
    model, batches = case.model(), batches_of(case)
    patterns = ["conv.weight", "norm.bias", "head.bias"]
    folds = folds_of(Hessian, case, model, batches, parameters=patterns)
    sizes = [p.numel() for p in model.parameters()]
    names = [name for name, _ in model.named_parameters()]
    chosen = torch.cat(
        [torch.full((size,), name in patterns) for name, size in zip(names, sizes, strict=True)]
    )
    exact = [matrix[chosen][:, chosen] for matrix in dense_of(case, model, batches)]
    assert check(folds, exact) == [[0, 1, 2]]


def test_operators_that_share_no_network_go_one_by_one():
    case = CASES["smooth"]
    model, batches = case.model(), batches_of(case)
    operators = [Hessian(model, batch, loss=case.loss, precision="float64") for batch in batches]
    assert len(Folds.over(operators).groups()) == BATCHES
    shared = [operators[0].with_data(TensorData(*batch), SIZE) for batch in batches]
    assert len(Folds.over(shared).groups()) == 1


def test_folds_need_a_batch():
    with pytest.raises(ValueError, match="at least one batch, got none"):
        Folds(Hessian(nn.Linear(2, 2), (torch.randn(2, 2), torch.tensor([0, 1]))), [])


def test_what_is_small_is_said_in_one_place():
    assert folding.SMALL == 2**18


def test_examples_are_those_of_the_batches():
    inputs, targets = examples(2 * SIZE)
    both = [(inputs[:SIZE], targets[:SIZE]), (inputs[SIZE:], targets[SIZE:])]
    mixed = stack.interleaved([pair[0] for pair in both])
    assert torch.equal(mixed[0::2], both[0][0])
    assert torch.equal(mixed[1::2], both[1][0])


@pytest.mark.parametrize("count", [12, 14])
def test_chunks_by_themselves_are_those_of_the_operator(count):
    case = CASES["convolutional"]
    operator = Hessian(
        case.model(), case.data(count), loss=case.loss, precision="float64", chunk_size=4,
        weight_decay=0.5,
    )  # fmt: skip
    block = torch.randn(3, operator.num_params, dtype=torch.float64)
    found = {own.number: own for own in products_by_chunk(operator, block)}
    sizes = []
    for number, (size, products) in enumerate(operator.chunk_products(block)):
        close(found[number].products, products)
        sizes.append((found[number].size, size))
    assert len(found) == len(sizes)
    assert all(own == size for own, size in sizes)


@pytest.mark.parametrize("count", [12, 13])
def test_a_chunk_that_is_not_finite_is_named(count):
    case = CASES["smooth"]
    inputs, targets = case.data(count)
    inputs[9] = float("inf")
    operator = Hessian(case.model(), (inputs, targets), precision="float64", chunk_size=4)
    block = torch.randn(2, operator.num_params, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match=r"product of chunk 3 \(examples 8 to"):
        list(products_by_chunk(operator, block))
