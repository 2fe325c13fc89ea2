"""Closed forms of losses, beside differentiating twice."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Smooth, examples, network
from dense import dense_ggn
from torch import nn

from truehessian.networks.losses.recognition import recognised
from truehessian.operators import GGN, closed_forms, ggn
from truehessian.operators.losses import FrozenLoss

CLASSES = 5
SHAPES = [(6, CLASSES), (3, CLASSES, 4), (1, CLASSES, 2, 3)]
WEIGHT = torch.linspace(0.5, 2, CLASSES, dtype=torch.float64)
CROSS_ENTROPIES = {
    "plain": F.cross_entropy,
    "module": nn.CrossEntropyLoss(),
    "smoothed": partial(F.cross_entropy, label_smoothing=0.2),
    "weighted": nn.CrossEntropyLoss(weight=WEIGHT.float()),
    "weighted and smoothed": partial(F.cross_entropy, weight=WEIGHT, label_smoothing=0.2),
    "ignoring a class": nn.CrossEntropyLoss(ignore_index=1),
    "all at once": nn.CrossEntropyLoss(WEIGHT, ignore_index=1, label_smoothing=0.1),
}


def drawn(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def frozen(loss):
    return FrozenLoss(loss, torch.device("cpu"), torch.float64)


def differentiated(loss, outputs, targets, vector):
    outputs = outputs.clone().requires_grad_()
    slope = torch.autograd.grad(loss(outputs, targets), outputs, create_graph=True)
    return torch.autograd.grad(slope, outputs, vector)[0]


def classes_of(shape):
    targets = drawn(shape).argmax(1)
    targets.view(-1)[0] = 1  # one to be ignored
    return targets


@pytest.mark.parametrize("size", [1, 8, 2**20])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["classes", "probabilities", "masses"])
@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_cross_entropy_has_the_curvature_of_differentiation(name, kind, shape, size, monkeypatch):
    """In slices of every size; targets may be masses that do not sum to one, too."""
    monkeypatch.setattr(closed_forms, "_SLICE", size)
    loss, outputs, vector = frozen(CROSS_ENTROPIES[name]), 3 * drawn(shape), drawn(shape, 1)
    if kind != "classes" and loss.known.ignore_index > 0:
        pytest.skip("PyTorch takes no class to be ignored beside probabilities")
    targets = {
        "classes": classes_of(shape),
        "probabilities": drawn(shape, 2).softmax(1),
        "masses": drawn(shape, 2).exp(),
    }[kind]
    exact = differentiated(loss, outputs, targets, vector)
    weigh = loss.weigher(outputs, targets)
    torch.testing.assert_close(weigh(vector), exact, rtol=1e-12, atol=1e-14)
    strided = vector.transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(weigh(strided), exact, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", [F.mse_loss, nn.MSELoss()])
def test_mean_squares_have_the_curvature_of_differentiation(loss, shape):
    outputs, targets, vector = (drawn(shape, seed) for seed in range(3))
    exact = differentiated(loss, outputs, targets, vector)
    torch.testing.assert_close(frozen(loss).weigher(outputs, targets)(vector), exact)


def test_the_largest_logits_leave_no_trace_in_the_precision():
    outputs, targets = torch.tensor([[1e4, -1e4, 1e4 - 1.0]]), torch.tensor([1])
    vector = torch.tensor([[1.0, 2.0, 3.0]])
    exact = differentiated(F.cross_entropy, outputs.double(), targets, vector.double())
    got = frozen(F.cross_entropy).weigher(outputs, targets)(vector)
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-7)


class Doubled(nn.CrossEntropyLoss):
    """A loss of one's own that only looks like PyTorch's."""

    def forward(self, outputs, targets):
        return 2 * super().forward(outputs, targets)


@pytest.mark.parametrize(
    "loss",
    [
        Doubled(),
        lambda z, t: F.cross_entropy(z, t),
        nn.CrossEntropyLoss(reduction="sum"),
        partial(F.mse_loss, reduction="sum"),
        partial(F.mse_loss, weight=torch.ones(3)),
        partial(F.cross_entropy, size_average=False),
    ],
)
def test_other_losses_are_left_to_differentiation(loss):
    assert recognised(loss) is None
    assert frozen(loss).weigher(drawn((3, 5)), torch.tensor([0, 1, 2])) is None


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (F.cross_entropy, drawn((3, 5)), torch.tensor([0, 5, 1])),
        (F.cross_entropy, drawn((3, 5)), torch.tensor([0, -1, 1])),
        (F.cross_entropy, drawn((3, 5)), torch.tensor([0, 1])),
        (F.cross_entropy, drawn((3, 5)), torch.tensor([[0], [1], [1]])),
        (F.cross_entropy, drawn((3, 5)), drawn((3, 4))),
        (nn.CrossEntropyLoss(ignore_index=1), drawn((3, 5)), drawn((3, 5)).softmax(1)),
        (F.cross_entropy, drawn(5), torch.tensor(0)),
        (nn.CrossEntropyLoss(torch.ones(4)), drawn((3, 5)), torch.tensor([0, 1, 2])),
        (F.mse_loss, drawn((3, 5)), drawn((3, 1))),
    ],
)
def test_what_does_not_go_together_is_left_to_the_loss(loss, outputs, targets):
    assert frozen(loss).weigher(outputs, targets) is None


# ------------------------------------------------------------------------------- in the operator

KNOWN = [name for name, case in CASES.items() if recognised(case.loss) is not None]


def products(name, **settings):
    case = CASES[name]
    how = {"loss": case.loss, "precision": "float64", "chunk_size": 3, **settings}
    operator = GGN(case.model(), case.data(5), **how)
    return operator @ torch.eye(operator.num_params, dtype=torch.float64)


@pytest.mark.parametrize("name", KNOWN)
def test_the_matrix_in_closed_form_is_that_of_plain_differentiation(name, monkeypatch, caplog):
    monkeypatch.setattr(ggn, "_LARGE", 1)
    case = CASES[name]
    exact = dense_ggn(case.model(), *case.data(5), case.loss)
    scale = exact.abs().max().item()
    for memory in (None, 0):
        got = products(name, memory=memory)
        torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10 * scale)
    assert not caplog.records


@pytest.mark.parametrize("name", ["smooth", "squares", "pixels"])
def test_on_a_device_the_closed_form_is_the_same(name, monkeypatch, cuda):
    expected = products(name)
    monkeypatch.setattr(ggn, "_LARGE", 1)
    torch.testing.assert_close(products(name, device=cuda).cpu(), expected, rtol=1e-9, atol=1e-12)


def test_the_bits_of_small_outputs_are_those_of_plain_differentiation(monkeypatch):
    """What has fewer outputs than the stated number never meets a closed form."""
    expected = products("smooth")
    monkeypatch.setattr(FrozenLoss, "weigher", None)
    assert torch.equal(products("smooth"), expected)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_closed_form_that_is_wrong_is_found_and_left_out(monkeypatch, caplog, precision):
    exact = products("smooth", precision=precision)
    monkeypatch.setattr(ggn, "_LARGE", 1)
    right = closed_forms.weigher_of

    def wrong(loss, outputs, targets):
        weigh = right(loss, outputs, targets)
        return lambda pushed: 1.01 * weigh(pushed)

    monkeypatch.setattr(closed_forms, "weigher_of", wrong)
    assert torch.equal(products("smooth", precision=precision), exact)
    assert "plain differentiation, since those of the faster rules deviate" in caplog.text


def test_a_class_that_does_not_exist_is_still_the_loss_s_to_refuse(monkeypatch):
    monkeypatch.setattr(ggn, "_LARGE", 1)
    inputs, targets = examples(6)
    targets[4] = 3
    operator = GGN(network(Smooth), (inputs, targets), chunk_size=3)
    with pytest.raises(RuntimeError, match="loss cross_entropy fails"):
        operator @ torch.ones(operator.num_params)


def test_the_number_of_outputs_of_an_example_decides(monkeypatch):
    """Whatever the chunks."""
    asked = []
    weigher = FrozenLoss.weigher
    monkeypatch.setattr(
        FrozenLoss, "weigher", lambda self, *args: asked.append(1) or weigher(self, *args)
    )
    inputs = drawn((3, 2)).float()
    for count, expected in ((2**14 - 1, False), (2**14, True)):
        asked.clear()
        model, targets = nn.Linear(2, count), torch.tensor([0, 7, count - 1])
        whole, single = (
            GGN(model, (inputs, targets), chunk_size=size) @ torch.ones(3 * count)
            for size in (3, 1)
        )
        torch.testing.assert_close(whole, single)
        assert bool(asked) is expected
