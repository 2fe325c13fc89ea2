"""Losses that weigh examples: one matrix whatever the chunks and the memory, by definition."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from dense import dense_hessian, flat, prepared, some_vectors
from torch import Tensor, nn

from truehessian.data.examples import Examples
from truehessian.measurements.variance import along_directions
from truehessian.networks.losses.binary import BinaryCrossEntropy
from truehessian.networks.losses.cross_entropy import CrossEntropy
from truehessian.networks.losses.log_likelihood import NegativeLogLikelihood
from truehessian.networks.losses.next_token import NextToken
from truehessian.networks.losses.squares import MeanSquaredError
from truehessian.operators import GGN, EmpiricalFisher, Fisher, GradientCovariance, Hessian, ggn
from truehessian.operators.batches import BatchData

COUNT, WIDTH, CLASSES, TOKENS = 11, 3, 4, 5
WEIGHT = [0.5, 2.0, 1.0, 3.0]


class Language(nn.Module):
    """Tied embeddings and a mixing of each token with those before it; takes a mask by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        hidden = self.embedding(input_ids) * attention_mask[..., None]
        return {"logits": self.head(torch.tanh(self.inner(hidden.cumsum(1))))}


class Two(nn.Module):
    """Takes two inputs by their position."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(one) * other))


class Case(NamedTuple):
    model: Callable[[], nn.Module]
    inputs: Any
    targets: Tensor
    loss: Any
    plain: Callable[[Any, Tensor], Tensor]  # PyTorch's own, of everything at once


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def numbers(*shape: int, below: int = CLASSES) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(3))


def small(outputs: int = CLASSES, *last: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, outputs), *last)


def marked(targets: Tensor, number: int) -> Tensor:
    """Targets of which some are to be ignored: all of examples 0 to 3, part of the others."""
    targets = targets.clone()
    targets[:4] = number
    targets.view(-1)[::3] = number
    return targets


def padded() -> dict[str, Tensor]:
    mask = torch.arange(TOKENS) < torch.arange(COUNT)[:, None] % TOKENS + 1
    return {"input_ids": numbers(COUNT, TOKENS), "attention_mask": mask.long()}


def tokens() -> Tensor:
    inputs = padded()
    return inputs["input_ids"].where(inputs["attention_mask"] > 0, -100)


def of_tokens(outputs: Any, targets: Tensor, shift: int = 0, **options: Any) -> Tensor:
    logits = outputs["logits"]
    logits, targets = logits[:, : logits.shape[1] - shift], targets[:, shift:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **options)


def known_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    known = targets >= 0
    losses = F.binary_cross_entropy_with_logits(
        outputs[known], targets[known].to(outputs), reduction="none"
    )
    return losses.mean()


class Own:
    """A loss of one's own whose targets say how much each example counts."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = (outputs - targets[:, 1:]).pow(4).sum(1)
        return (losses * targets[:, 0]).sum() / targets[:, 0].sum()

    def weights(self, targets: Tensor) -> Tensor:
        return targets[:, 0]


CLASSIFIED = drawn(COUNT, 2), numbers(COUNT)
PIXELS = drawn(COUNT, 1, 3, 2), numbers(COUNT, 3, 2)
CASES = {
    "ignoring": Case(
        small, CLASSIFIED[0], marked(CLASSIFIED[1], -100), F.cross_entropy, F.cross_entropy
    ),
    "ignoring a class": Case(
        small, *CLASSIFIED, CrossEntropy(ignore_index=1), partial(F.cross_entropy, ignore_index=1)
    ),
    "weighted": Case(
        small,
        *CLASSIFIED,
        nn.CrossEntropyLoss(torch.tensor(WEIGHT)),
        partial(F.cross_entropy, weight=torch.tensor(WEIGHT, dtype=torch.float64)),
    ),
    "everything": Case(
        small,
        CLASSIFIED[0],
        marked(CLASSIFIED[1], 2),
        CrossEntropy(weight=WEIGHT, ignore_index=2, label_smoothing=0.2),
        partial(
            F.cross_entropy,
            weight=torch.tensor(WEIGHT, dtype=torch.float64),
            ignore_index=2,
            label_smoothing=0.2,
        ),
    ),
    "probabilities": Case(
        small,
        CLASSIFIED[0],
        drawn(COUNT, CLASSES, seed=2).softmax(1),
        CrossEntropy(),
        F.cross_entropy,
    ),
    "pixels": Case(
        lambda: nn.Conv2d(1, CLASSES, 3, padding="same"),
        PIXELS[0],
        marked(PIXELS[1], -100),
        "cross_entropy",
        F.cross_entropy,
    ),
    "tokens": Case(Language, padded(), tokens(), "cross_entropy", of_tokens),
    "smoothed tokens": Case(
        Language,
        padded(),
        tokens(),
        CrossEntropy(label_smoothing=0.1, weight=WEIGHT),
        partial(
            of_tokens, label_smoothing=0.1, weight=torch.tensor(WEIGHT, dtype=torch.float64)
        ),
    ),
    "next tokens": Case(Language, padded(), tokens(), NextToken(), partial(of_tokens, shift=1)),
    "log-probabilities": Case(
        lambda: small(CLASSES, nn.LogSoftmax(1)),
        CLASSIFIED[0],
        marked(CLASSIFIED[1], -100),
        NegativeLogLikelihood(weight=WEIGHT),
        partial(F.nll_loss, weight=torch.tensor(WEIGHT, dtype=torch.float64)),
    ),
    "squares": Case(
        partial(small, 2), CLASSIFIED[0], drawn(COUNT, 2, seed=5), MeanSquaredError(), F.mse_loss
    ),
    "single outputs": Case(
        partial(small, 1),
        CLASSIFIED[0],
        drawn(COUNT, seed=5),
        "mse",
        lambda z, t: F.mse_loss(z[:, 0], t),
    ),
    "labels": Case(
        small,
        CLASSIFIED[0],
        numbers(COUNT, CLASSES, below=2),
        BinaryCrossEntropy(pos_weight=WEIGHT),
        lambda z, t: F.binary_cross_entropy_with_logits(
            z, t.double(), pos_weight=torch.tensor(WEIGHT, dtype=torch.float64)
        ),
    ),
    "unknown labels": Case(
        small,
        CLASSIFIED[0],
        marked(numbers(COUNT, CLASSES, below=2), -1),
        BinaryCrossEntropy(ignore_index=-1),
        known_labels,
    ),
    "two inputs": Case(
        Two, (drawn(COUNT, 2), drawn(COUNT, WIDTH, seed=1)), CLASSIFIED[1], "cross_entropy",
        F.cross_entropy,
    ),
    "own": Case(
        small,
        CLASSIFIED[0],
        torch.cat([drawn(COUNT, 1).abs(), drawn(COUNT, CLASSES, seed=6)], 1),
        Own(),
        Own(),
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]


def model_of(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.model().double()


def products(operator: Any) -> Tensor:
    return operator @ some_vectors(operator.num_params)


def close(got: Tensor, exact: Tensor, rtol: float, atol: float = 1e-12) -> None:
    """Products with a few vectors are those of a matrix that is written down."""
    torch.testing.assert_close(got, exact @ some_vectors(len(exact)), rtol=rtol, atol=atol)


def rows(tree: Any, index: Any) -> Any:
    """Some examples, by other means than those of the package."""
    if isinstance(tree, dict):
        return {name: value[index] for name, value in tree.items()}
    return tuple(value[index] for value in tree) if isinstance(tree, tuple) else tree[index]


def called(model: nn.Module) -> nn.Module:
    """A network that takes a tree as one argument."""

    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Any) -> Any:
            if isinstance(inputs, dict):
                return self.model(**inputs)
            return self.model(*inputs) if isinstance(inputs, tuple) else self.model(inputs)

    return Called()


def of_single_examples(case: Case) -> tuple[Tensor, Tensor]:
    """The weight and the Hessian of each example, by its own loss; zeros where nothing counts."""
    model, weights, matrices = called(model_of(case)), [], []
    whole = dense_hessian(model, case.inputs, case.targets, case.plain)
    for number in range(COUNT):
        pair = rows(case.inputs, [number]), rows(case.targets, [number])
        own = dense_hessian(model, *pair, case.plain)
        weights.append(weight_of(case, number))
        matrices.append(own.nan_to_num(0.0) if not weights[-1] else own)
    weights, matrices = torch.tensor(weights, dtype=torch.float64), torch.stack(matrices)
    mean = (weights[:, None, None] * matrices).sum(0) / weights.sum()
    torch.testing.assert_close(mean, whole, rtol=1e-11, atol=1e-12)  # the weights are right
    return weights, matrices


def weight_of(case: Case, number: int) -> float:
    """The denominator that PyTorch gives an example, counted by hand."""
    target = case.targets[number]
    if isinstance(case.loss, Own):
        return target[0].item()
    if target.is_floating_point() or isinstance(case.loss, BinaryCrossEntropy):
        ignored = getattr(case.loss, "ignore_index", None)
        return 1.0 if ignored is None else float((target != ignored).sum())
    target = target[1:] if isinstance(case.loss, NextToken) else target
    ignored = getattr(case.loss, "ignore_index", -100)
    weight = getattr(case.loss, "weight", None)
    weight = [1.0] * CLASSES if weight is None else list(weight)
    return float(sum(weight[t] for t in target.reshape(-1).tolist() if t not in (ignored, -100)))


@pytest.mark.parametrize("memory", [None, 0])
def test_the_matrix_is_the_same_for_every_chunk_size(case, memory):
    model = model_of(case)
    exact = dense_hessian(called(model), case.inputs, case.targets, case.plain)
    for size in (1, 3, 7, COUNT):
        data = Examples(case.inputs, case.targets)
        how = {"loss": case.loss, "precision": "float64", "memory": memory}
        operator = Hessian(model, data, chunk_size=size, **how)
        for _ in range(2):
            close(products(operator), exact, 1e-12)


@pytest.mark.parametrize("kind", [Hessian, GGN, EmpiricalFisher])
@pytest.mark.parametrize("at_once", [1, 5])
def test_pieces_for_want_of_memory_give_the_same_matrix(case, kind, at_once):
    how = {"loss": case.loss, "precision": "float64", "memory": 0, "chunk_size": 8}
    pair = case.inputs, case.targets
    whole, cut = (kind(model_of(case), pair, **how) for _ in range(2))
    cut._at_once = at_once
    torch.testing.assert_close(products(cut), products(whole), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("closed", [False, True])
def test_the_gauss_newton_matrix_is_its_definition(case, closed, monkeypatch):
    """By the Jacobian and the loss's Hessian of all outputs together."""
    if closed:
        monkeypatch.setattr(ggn, "_LARGE", 1)
    model = model_of(case)
    network, leaves = prepared(called(model))
    outputs = network(case.inputs)
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    jacobian = torch.stack(
        [flat(torch.autograd.grad(z, leaves, retain_graph=True)) for z in logits.reshape(-1)]
    )

    def loss(z: Tensor) -> Tensor:
        z = z.view(logits.shape)
        if isinstance(case.loss, NegativeLogLikelihood):  # the matrix at the logits
            z = z.log_softmax(1)
        return case.plain({"logits": z} if isinstance(outputs, dict) else z, case.targets)

    if isinstance(case.loss, NegativeLogLikelihood):
        inner, _ = prepared(model[:-1])
        logits = inner(case.inputs)
        leaves = [p.requires_grad_() for p in inner.parameters()]
        jacobian = torch.stack(
            [flat(torch.autograd.grad(z, leaves, retain_graph=True)) for z in logits.reshape(-1)]
        )
    weight = torch.autograd.functional.hessian(loss, logits.detach().reshape(-1))
    exact = jacobian.T @ weight @ jacobian
    for size in (1, 3, COUNT):
        how = {"loss": case.loss, "precision": "float64", "chunk_size": size}
        close(products(GGN(model, (case.inputs, case.targets), **how)), exact, 1e-11)


def test_the_empirical_fisher_weighs_gradients_of_single_examples(case):
    model = model_of(case)
    network, leaves = prepared(called(model))
    total, mean, sum_of_weights = 0.0, 0.0, 0.0
    for number in range(COUNT):
        weight = weight_of(case, number)
        if not weight:
            continue
        loss = case.plain(network(rows(case.inputs, [number])), rows(case.targets, [number]))
        own = flat(torch.autograd.grad(loss, leaves))
        total, mean = total + weight * torch.outer(own, own), mean + weight * own
        sum_of_weights += weight
    exact, mean = total / sum_of_weights, mean / sum_of_weights
    for size in (1, 3, COUNT):
        how = {"loss": case.loss, "precision": "float64", "chunk_size": size}
        pair = case.inputs, case.targets
        close(products(EmpiricalFisher(model, pair, **how)), exact, 1e-11)
        covariance = exact - torch.outer(mean, mean)
        close(products(GradientCovariance(model, pair, **how)), covariance, 1e-11)


def test_variance_and_batches_are_their_definitions(case):
    """V(u) = (1/N) sum_i (w_i / w)² |(H_i - H) u|², and the Hessian of a batch by its own sums."""
    weights, matrices = of_single_examples(case)
    shares = (weights / weights.mean())[:, None, None]
    mean = (shares * matrices).mean(0)
    model, pair = model_of(case), (case.inputs, case.targets)
    operator = Hessian(model, pair, loss=case.loss, precision="float64", chunk_size=1)
    directions = F.normalize(drawn(2, operator.num_params, seed=8), dim=1)
    found = along_directions(operator, directions)
    images = (shares * (matrices - mean)) @ directions.T
    exact = images.square().sum(1).mean(0)
    torch.testing.assert_close(found.variance, exact, rtol=1e-9, atol=1e-14)
    chosen = [5, 9, 1, 6]
    if not weights[chosen].sum():
        return
    batch = operator.with_data(
        BatchData([(rows(case.inputs, chosen), rows(case.targets, chosen))]), 4
    )
    exact = (weights[chosen, None, None] * matrices[chosen]).sum(0) / weights[chosen].sum()
    close(products(batch), exact, 1e-10)


@pytest.mark.parametrize("name", ["tokens", "next tokens", "pixels", "ignoring", "squares"])
def test_the_fisher_draws_where_targets_count_and_is_the_gauss_newton_matrix_in_the_mean(name):
    case = CASES[name]
    loss = CrossEntropy() if case.loss is F.cross_entropy else case.loss
    how = {"loss": loss, "precision": "float64"}
    model, pair = model_of(case), (case.inputs, case.targets)
    exact = products(GGN(model, pair, **how))
    drawn_ones = [
        products(Fisher(model, pair, num_samples=8, seed=seed, chunk_size=COUNT, **how))
        for seed in range(60)
    ]
    draws = torch.stack(drawn_ones)
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() < 5 * error + 1e-12).all()
    again = products(Fisher(model, pair, num_samples=8, seed=0, chunk_size=4, **how))
    torch.testing.assert_close(again, drawn_ones[0], rtol=1e-11, atol=1e-12)


def test_batches_may_be_mappings_that_hold_their_targets():
    case = CASES["tokens"]
    model, how = model_of(case), {"loss": "cross_entropy", "precision": "float64"}
    exact = products(Hessian(model, (case.inputs, case.targets), **how))
    whole = {**case.inputs, "labels": case.targets}
    batches = [rows(whole, slice(0, 4)), rows(whole, slice(4, COUNT))]
    for data in (whole, batches, iter(batches)):
        torch.testing.assert_close(products(Hessian(model, data, **how)), exact)


def test_logits_may_have_their_classes_last_unless_the_shapes_do_not_tell():
    loss, outputs = CrossEntropy(), drawn(2, CLASSES, CLASSES)
    with pytest.raises(ValueError, match="class_axis"):
        loss(outputs, numbers(2, CLASSES))
    for axis in (1, -1):
        told = CrossEntropy(class_axis=axis)(outputs, numbers(2, CLASSES))
        exact = F.cross_entropy(outputs.movedim(axis, 1), numbers(2, CLASSES))
        torch.testing.assert_close(told, exact)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (lambda t: torch.ones(3), r"shape \(11,\), got \(3,\)"),
        (lambda t: 1.0, "got float"),
        (lambda t: -torch.ones(len(t)), "from 0 on, got -1"),
        (lambda t: torch.zeros(len(t)), "no example counts"),
    ],
)
def test_weights_that_are_none_are_refused(weights, words):
    class Wrong(Own):
        pass

    Wrong.weights = lambda self, targets: weights(targets)
    case = CASES["own"]
    operator = Hessian(model_of(case), (case.inputs, case.targets), loss=Wrong())
    with pytest.raises(ValueError, match=words):
        operator @ torch.ones(operator.num_params)


def test_weights_that_are_not_those_of_the_loss_are_found_out():
    class Wrong(Own):
        def weights(self, targets: Tensor) -> Tensor:
            return targets[:, 0] ** 2

    case = CASES["own"]
    operator = Hessian(model_of(case), (case.inputs, case.targets), loss=Wrong())
    with pytest.raises(ValueError, match="no mean over examples"):
        operator @ torch.ones(operator.num_params)
