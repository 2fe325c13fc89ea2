"""What has no matrix is refused in one sentence of the package that names the matter."""

import functools
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import Convolutional, Smooth, examples, network
from dense import dense_ggn, dense_hessian
from torch import nn
from torch.utils.checkpoint import checkpoint

from truehessian import operators
from truehessian.operators import GGN, EmpiricalFisher, Hessian

INPUTS, TARGETS = examples(7)


def identity(operator):
    return operator @ torch.eye(operator.num_params, dtype=torch.float64)


def hessian(model, data=(INPUTS, TARGETS), kind=Hessian, **settings):
    return identity(kind(model, data, **{"precision": "float64", "chunk_size": 3, **settings}))


def refused(error, words, attempt):
    """Check that the package itself raises, in one line that holds some words."""
    with pytest.raises(error, match=f"(?i){words}") as caught:
        attempt()
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert Path(last.filename).is_relative_to(Path(operators.__file__).parents[1])
    assert last.line is not None
    assert last.line.startswith("raise")
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------- the loss


def summed(z, t):
    return F.cross_entropy(z, t, reduction="sum")


def contrastive(z, t):
    return -(z @ z.T).log_softmax(1).diagonal().mean()


def half_ignored(z, t):
    return F.cross_entropy(z, t.masked_fill(t == 1, -100))


def partly_masked(z, t):
    return ((z - t).square() * (t < 9)).mean()


def random(z, t):
    return F.cross_entropy(z + torch.randn_like(z), t)


def weighted(z, t):
    """Weighs classes and does not tell."""
    return F.cross_entropy(z, t, weight=torch.tensor([1.0, 5.0, 1.0], dtype=z.dtype))


def ignoring(z, t):
    return F.cross_entropy(z, t)


unreduced = nn.CrossEntropyLoss(reduction="none")


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (summed, "no mean over examples.*sum; take the mean"),
        (weighted, "no mean over examples.*weighs"),
        (half_ignored, "no mean over examples.*ignores"),
        (contrastive, "no mean over examples.*compares examples"),
        (random, "other values for the same outputs"),
        (unreduced, "one number, the mean"),
    ],
)
def test_a_loss_that_is_no_mean_is_refused_whatever_the_chunks(loss, words, chunk_size):
    for kind in (Hessian, GGN, EmpiricalFisher):
        refused(
            ValueError,
            words,
            lambda kind=kind: hessian(network(Smooth), kind=kind, loss=loss, chunk_size=chunk_size),
        )


@pytest.mark.parametrize("place", range(7))
def test_a_single_ignored_target_is_found_wherever_it_is(place):
    targets = TARGETS.clone()
    targets[place] = -100
    model = network(Smooth)
    data = (INPUTS, targets)
    refused(ValueError, "ignores", lambda: hessian(model, data, loss=ignoring, chunk_size=4))


def test_means_of_every_kind_are_taken():
    model = network(Smooth)
    soft = torch.rand(7, 3, dtype=torch.float64).softmax(1)
    for loss, targets in (
        (functools.partial(F.cross_entropy, label_smoothing=0.1), TARGETS),
        (nn.CrossEntropyLoss(weight=torch.full((3,), 2.0)), TARGETS),
        (lambda z, t: F.kl_div(z.log_softmax(1), t, reduction="batchmean"), soft),
        (lambda z, t: F.mse_loss(z[:, :1].squeeze(), t[:, 0]), soft),
        (F.binary_cross_entropy_with_logits, soft),
        (lambda z, t: F.cross_entropy(z, t)[None], TARGETS),
    ):
        exact = dense_hessian(model, INPUTS, targets, loss=as_scalar(loss))
        got = hessian(model, (INPUTS, targets), loss=loss, chunk_size=4)
        torch.testing.assert_close(got, exact)


def as_scalar(loss):
    if isinstance(loss, nn.Module):
        return F.cross_entropy
    return lambda z, t: loss(z, t).sum()


class Temperature(nn.Module):
    """A loss with a parameter of its own, in single precision."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, z, t):
        return F.cross_entropy(z * self.temperature, t)


def test_parameters_of_a_loss_are_constants():
    loss, model = Temperature(), network(Smooth)
    exact = dense_hessian(model, INPUTS, TARGETS, loss=lambda z, t: F.cross_entropy(2 * z, t))
    torch.testing.assert_close(hessian(model, loss=loss), exact)
    assert loss.temperature.requires_grad


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (3, TypeError, "loss must be a name or a function"),
        ("cross_entropie", ValueError, "did you mean 'cross_entropy'"),
        (lambda z, t: F.cross_entropy(z, t).item(), ValueError, "gives float"),
        (lambda z, t: (F.cross_entropy(z, t), 1), ValueError, "gives tuple"),
        (lambda z, t: F.cross_entropy(z, t).detach(), ValueError, "by a graph"),
        (lambda z, t: (z.argmax(1) != t).double().mean(), ValueError, "by a graph"),
        (lambda z, t: F.cross_entropy(z, t[:, None]), RuntimeError, "outputs of shape .*targets"),
        (F.multi_margin_loss, NotImplementedError, "second derivative.*loss multi_margin_loss"),
    ],
)
def test_a_loss_that_gives_something_else_is_refused(loss, error, words):
    refused(error, words, lambda: hessian(network(Smooth), loss=loss))


def test_a_penalty_on_weights_outside_is_refused():
    model = network(Smooth)

    def penalty(z, t):
        return F.cross_entropy(z, t) + sum(p.square().sum() for p in model.parameters())

    refused(ValueError, "parameters other than.*penalty", lambda: hessian(model, loss=penalty))


def in_log_probabilities():
    return nn.Sequential(*Smooth(), nn.LogSoftmax(-1))


@pytest.mark.parametrize("loss", [F.nll_loss, nn.NLLLoss()])
def test_log_probabilities_have_the_gauss_newton_matrix_of_their_logits(loss):
    model = network(in_log_probabilities)
    exact = dense_ggn(model[:-1], INPUTS, TARGETS, F.cross_entropy)
    torch.testing.assert_close(hessian(model, kind=GGN, loss=loss), exact)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("loss", [F.nll_loss, nn.NLLLoss()])
def test_the_gauss_newton_matrix_of_what_is_no_log_probability_is_refused(loss, precision):
    words = "zero at its outputs.*no log-probabilities.*log_softmax.*cross_entropy"
    model = network(Smooth)
    refused(ValueError, words, lambda: hessian(model, kind=GGN, loss=loss, precision=precision))
    exact = dense_hessian(model, INPUTS, TARGETS, loss)
    torch.testing.assert_close(hessian(model, loss=loss), exact)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("make", [Smooth, in_log_probabilities])
@pytest.mark.parametrize(
    "loss",
    [lambda z, t: z.sum(1).mean(), lambda z, t: (z.gather(1, t[:, None]) - 2).mean()],
)
def test_a_loss_that_is_linear_in_the_outputs_has_a_gauss_newton_matrix_of_zeros(
    loss, make, precision, caplog
):
    model = network(make)
    assert not hessian(model, kind=GGN, loss=loss, precision=precision).any()
    assert "loss <lambda> is linear" in caplog.text
    exact = dense_hessian(model, INPUTS, TARGETS, loss)
    torch.testing.assert_close(hessian(model, loss=loss), exact)
    assert hessian(model, kind=EmpiricalFisher, loss=loss).any()


@pytest.mark.parametrize("loss", [F.l1_loss, partly_masked])
def test_a_loss_without_curvature_at_the_first_examples_is_said_to_have_none(loss, caplog):
    targets = F.one_hot(TARGETS, 3).double()
    targets[:2] = 9
    hessian(network(Smooth), (INPUTS, targets), kind=GGN, loss=loss)
    assert f"{loss.__name__} is linear in the network's outputs there" in caplog.text


# ----------------------------------------------------------------------------------- the network


class Two(nn.Module):
    """Two linear layers with something between them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 4), nn.Linear(4, 3)

    def between(self, hidden):
        return torch.tanh(hidden)

    def forward(self, inputs):
        return self.second(self.between(self.first(inputs.flatten(1))))


def between(function):
    return type(function.__name__, (Two,), {"between": lambda self, hidden: function(hidden)})


class FirstOnly(torch.autograd.Function):
    """x², whose first derivative is a constant for the second."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, cotangent):
        return (2 * cotangent * ctx.saved_tensors[0]).detach()


@between
def unsymmetric(hidden):
    return FirstOnly.apply(hidden)


@between
def centred_by_the_batch(hidden):
    return hidden - hidden.mean(0)


@between
def normalised_by_the_batch(hidden):
    return F.batch_norm(hidden, None, None, training=True)


@between
def at_random(hidden):
    return torch.tanh(hidden) + 0.1 * torch.randn_like(hidden)


@between
def recomputed_by_reentrance(hidden):
    return checkpoint(torch.tanh, hidden, use_reentrant=True)


class Undifferentiated(Two):
    """Made for prediction."""

    @torch.no_grad()
    def forward(self, inputs):
        return super().forward(inputs)


class Locked(Two):
    """Holds what cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Bagged(nn.Module):
    """A layer whose kernel has no second derivative."""

    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(5, 4, mode="mean"), nn.Linear(4, 3)

    def forward(self, inputs):
        tokens = inputs.flatten(1).abs().mul(3).long().clamp(max=4)
        return self.head(torch.tanh(self.bag(tokens)))


class Fourier(nn.Module):
    """A complex parameter."""

    def __init__(self):
        super().__init__()
        self.spectral = nn.Parameter(torch.randn(9, dtype=torch.complex128))
        self.head = nn.Linear(16, 3)

    def forward(self, inputs):
        return self.head(torch.fft.irfft(torch.fft.rfft(inputs.flatten(1)) * self.spectral, n=16))


def without_statistics():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3, affine=False)).append(
        nn.BatchNorm1d(3, track_running_stats=False)
    )


def in_pairs():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.LSTM(3, 3))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (unsymmetric, ValueError, r"not symmetric.*\(unsymmetric\)"),
        (centred_by_the_batch, ValueError, "depend on the other examples"),
        (normalised_by_the_batch, ValueError, "statistics of the batch"),
        (without_statistics, ValueError, "'3'.*no running statistics"),
        (at_random, ValueError, "draws random numbers"),
        (recomputed_by_reentrance, NotImplementedError, "checkpoint"),
        (Undifferentiated, ValueError, "first.weight.*by a graph.*no_grad"),
        (Locked, ValueError, "attribute 'lock'.*cannot be copied"),
        (Bagged, NotImplementedError, r"layer 'bag' \(EmbeddingBag\)"),
        (Fourier, ValueError, "'spectral' is complex"),
        (in_pairs, RuntimeError, "the loss cross_entropy fails on outputs"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), ValueError, "no shape yet"),
        (lambda: nn.Linear(4, 3, device="meta"), ValueError, "meta device"),
        (nn.Flatten, ValueError, "no parameter"),
    ],
)
def test_a_network_without_a_matrix_is_refused(make, error, words):
    model = make() if make in (Fourier, Locked) else make().double()
    kinds = [Hessian] if make is in_pairs else [Hessian, GGN, EmpiricalFisher]
    for kind in kinds:
        refused(error, words, lambda kind=kind: hessian(model, kind=kind))


class UnitRows(nn.Module):
    """Divides rows by their norm, one of which is zero."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(4, 3), nn.Linear(3, 3)
        nn.init.zeros_(self.table.weight[1])

    def forward(self, inputs):
        rows = self.table(torch.arange(len(inputs)) % 4)
        return self.head(rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-6))


def test_what_is_not_finite_is_named():
    refused(
        FloatingPointError,
        r"finite gradient.*UnitRows.*no second derivative",
        lambda: hessian(UnitRows(), chunk_size=7),
    )
    diverged = network(Smooth)
    diverged[1].weight.data[0, 0] = float("nan")
    refused(FloatingPointError, "parameters '1.weight'", lambda: hessian(diverged))
    holed = INPUTS.clone()
    holed[4] = float("inf")
    refused(
        FloatingPointError, "chunk 2.*inputs", lambda: hessian(network(Smooth), (holed, TARGETS))
    )


def test_what_is_not_finite_is_named_too_where_the_caller_looks():
    holed = INPUTS.clone()
    holed[4] = float("inf")
    holed, whole = (
        Hessian(network(Smooth), (inputs, TARGETS), chunk_size=4) for inputs in (holed, INPUTS)
    )

    def look(operator, error):
        with operator.unwatched():
            product = operator.matmat(torch.ones(1, operator.num_params))
            assert bool(product.isfinite().all()) == (operator is whole)
            raise error("of step 3")

    refused(FloatingPointError, "chunk 2.*inputs", lambda: look(holed, FloatingPointError))
    with pytest.raises(FloatingPointError, match="of step 3"):
        look(whole, FloatingPointError)
    with pytest.raises(KeyError, match="of step 3"):
        look(holed, KeyError)
    refused(FloatingPointError, "chunk 2", lambda: holed.matmat(torch.ones(1, holed.num_params)))


class Caching(Two):
    """Computes something once, with the graph that it has then."""

    made = None

    def between(self, hidden):
        if self.made is None:
            self.made = torch.sigmoid(self.first.weight[:, :4]).sum()
        return torch.tanh(hidden) * self.made


def test_a_network_that_keeps_a_graph_between_calls_is_said_to():
    for kind in (Hessian, GGN):
        refused(
            RuntimeError, "keeps tensors", lambda kind=kind: hessian(network(Caching), kind=kind)
        )


def test_a_network_that_fails_is_said_to_with_the_layer():
    model = network(Convolutional)
    wide = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    for kind in (Hessian, GGN):
        refused(
            RuntimeError,
            r"inputs of shape \(2, 1, 6, 6\).*layer 'head' \(Linear\)",
            lambda kind=kind: hessian(model, (wide, TARGETS[:3]), kind=kind),
        )


# ------------------------------------------------------------------ what is right all the same


class Remembering(Two):
    """Keeps a tensor that has a graph."""

    def between(self, hidden):
        self.features = {"last": [torch.tanh(hidden)]}
        return self.features["last"][0]


def test_networks_in_every_wrapping_have_the_matrix_within():
    model = network(Two)
    exact = dense_hessian(model, INPUTS, TARGETS)
    kept = network(Remembering)
    F.cross_entropy(kept(INPUTS), TARGETS).backward()
    with torch.inference_mode():
        inferred = network(Two)
    in_place = network(Two)
    in_place.compile()
    for wrapped in (
        nn.DataParallel(model),
        torch.compile(model),
        in_place,
        torch.optim.swa_utils.AveragedModel(model),
        kept,
        inferred,
        network(Two).requires_grad_(False),
    ):
        torch.testing.assert_close(hessian(wrapped), exact)
    names = list(Hessian(nn.DataParallel(model), (INPUTS, TARGETS)).network.parameters)
    assert names == [name for name, _ in model.named_parameters()]


def test_scripted_networks_have_the_same_matrix():
    model = network(Convolutional).eval()
    with warnings.catch_warnings(action="ignore"):  # scripts are deprecated, and still used
        traced = torch.jit.trace(model, INPUTS)
    torch.testing.assert_close(hessian(traced), dense_hessian(model, INPUTS, TARGETS))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_products_are_made_in_any_context(context):
    exact = dense_hessian(network(Two), INPUTS, TARGETS)
    with context():
        inputs = INPUTS * 1.0
        got = hessian(network(Two), (inputs, TARGETS))
    torch.testing.assert_close(got, exact)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(hessian(network(Two)), exact)


class Reduced(Two):
    """Switches mixed precision on by itself, and casts by hand."""

    def between(self, hidden):
        with torch.autocast("cpu", torch.bfloat16):
            mixed = F.linear(hidden, self.first.weight[:, :4])
        half = (mixed + hidden).to(torch.float16)
        return torch.tanh(half).float() + hidden.bfloat16().type_as(hidden)


def test_precision_is_the_operators_and_not_the_networks():
    class Plain(Two):
        def between(self, hidden):
            mixed = F.linear(hidden, self.first.weight[:, :4])
            return torch.tanh(mixed + hidden) + hidden

    exact = dense_hessian(network(Plain), INPUTS, TARGETS)
    torch.testing.assert_close(hessian(network(Reduced)), exact)
    single = hessian(network(Reduced), precision="float32")
    torch.testing.assert_close(single, exact, rtol=1e-4, atol=1e-5)


class Counting(Two):
    """Changes buffers in place and by name, without effect on the outputs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def between(self, hidden):
        self.seen += len(hidden)
        scale, self.scale = self.scale, self.scale + 1.0
        return torch.tanh(hidden) * scale


def test_buffers_that_a_network_changes_are_put_back():
    model = network(Counting)
    twin = network(Two)
    operator = Hessian(model, (INPUTS, TARGETS), precision="float64", chunk_size=2, memory=0)
    for _ in range(2):
        torch.testing.assert_close(identity(operator), dense_hessian(twin, INPUTS, TARGETS))
    assert (model.seen, model.scale) == (0, 1)


class TwoHeads(Two):
    """Gives a mapping with something beside the logits."""

    def forward(self, inputs):
        logits = super().forward(inputs)
        return {"logits": logits, "mean": logits.mean()}


def test_the_loss_may_take_any_outputs():
    def loss(outputs, t, **how):
        return F.cross_entropy(outputs["logits"], t, **how)

    exact = dense_hessian(network(Two), INPUTS, TARGETS)
    torch.testing.assert_close(hessian(network(TwoHeads), loss=loss), exact)
    refused(ValueError, "one tensor", lambda: hessian(network(TwoHeads), kind=GGN, loss=loss))
    total = functools.partial(loss, reduction="sum")
    refused(ValueError, "is a sum", lambda: hessian(network(TwoHeads), loss=total))


class Ordered(Two):
    """A parameter of whole numbers."""

    def __init__(self):
        super().__init__()
        self.order = nn.Parameter(torch.tensor([3, 1, 0, 2]), requires_grad=False)

    def between(self, hidden):
        return torch.tanh(hidden[:, self.order])


def test_whole_numbers_are_no_parameters():
    operator = Hessian(network(Ordered), (INPUTS, TARGETS), precision="float64")
    assert operator.num_params == Hessian(network(Two), (INPUTS, TARGETS)).num_params
    assert "order" not in operator.network.parameters


def test_a_tied_weight_is_found_by_any_of_its_names():
    model = network(Two)
    model.third = nn.Linear(4, 3)
    model.third.weight = model.second.weight
    one, other = (
        Hessian(model, (INPUTS, TARGETS), parameters=[name])
        for name in ("second.weight", "third.weight")
    )
    assert list(one.network.parameters) == list(other.network.parameters) == ["second.weight"]


# --------------------------------------------------------------------- arguments, data and vectors


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ([{"inputs": INPUTS, "classes": TARGETS}], TypeError, "keys 'inputs', 'classes'"),
        ({"inputs": INPUTS, "classes": TARGETS}, TypeError, "keys 'inputs', 'classes'"),
        ({"inputs": INPUTS.tolist(), "labels": TARGETS}, TypeError, "inputs.inputs.0.*as_tensor"),
        ({"labels": TARGETS}, TypeError, "must hold inputs and targets"),
        (({"x": INPUTS, "mask": INPUTS[:3]}, TARGETS), ValueError, "inputs.mask.*7 and 3 and 7"),
        ([(INPUTS, TARGETS, TARGETS)], TypeError, "a tuple of 3"),
        ((INPUTS.numpy(), TARGETS.numpy()), TypeError, "as_tensor"),
        (torch.utils.data.TensorDataset(INPUTS, TARGETS), TypeError, "DataLoader"),
        (list(zip(INPUTS, TARGETS, strict=True)), ValueError, "single examples"),
        (INPUTS, TypeError, "pair of tensors"),
        ((INPUTS, TARGETS[:3]), ValueError, "differ in length: 7 and 3"),
        ((INPUTS[:0], TARGETS[:0]), ValueError, "at least one example"),
    ],
)
def test_data_of_another_kind_are_refused(data, error, words):
    refused(error, words, lambda: Hessian(network(Smooth), data))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"parameters": "1.*"}, TypeError, r"write \['1\.\*'\]"),
        ({"parameters": [3]}, TypeError, "patterns of names"),
        ({"parameters": ["none"]}, ValueError, "no parameter matches"),
        ({"chunk_size": 2.5}, ValueError, "whole number"),
        ({"chunk_size": True}, ValueError, "whole number"),
        ({"memory": "1GB"}, ValueError, "number of bytes"),
        ({"precision": torch.float64}, ValueError, "precision must be one of"),
        ({"device": "gpu"}, ValueError, "device must be"),
        ({"batchnorm": None}, ValueError, "batchnorm must be"),
    ],
)
def test_settings_of_another_kind_are_refused(settings, error, words):
    refused(error, words, lambda: Hessian(network(Smooth), (INPUTS, TARGETS), **settings))


def test_a_model_that_is_no_module_is_refused():
    refused(TypeError, "model must be a torch.nn.Module", lambda: hessian(lambda x: x))


def test_vectors_of_another_kind_are_refused():
    operator = Hessian(network(Smooth), (INPUTS, TARGETS), precision="float64")
    size = operator.num_params
    for vector in (np.ones(size), [1.0] * size, torch.ones(size, dtype=torch.complex64)):
        refused(TypeError, "real torch.Tensor", lambda vector=vector: operator @ vector)
    refused(ValueError, f"\\(k, {size}\\)", lambda: operator.matmat(torch.ones(2, 3)))
    assert (operator @ torch.ones(size, 0)).shape == (size, 0)
    whole = operator @ torch.ones(size, dtype=torch.int64)
    torch.testing.assert_close(whole, operator @ torch.ones(size))


@pytest.mark.parametrize("factor", [14, 56, 80, 160, 1000])
def test_examples_that_are_fitted_perfectly_are_no_reason_to_refuse(factor, caplog):
    """Slopes of their loss are rounding, which is not symmetric and differs between two ways."""
    model = network(Smooth)
    model[3].weight.data.mul_(factor)
    targets = model.eval()(INPUTS).argmax(1)
    for kind in (Hessian, GGN, EmpiricalFisher):
        for precision in ("float32", "float64"):
            operator = kind(model, (INPUTS, targets), precision=precision)
            operator @ torch.ones(operator.num_params)
            assert operator.describe()["differentiation"] == "by rules"
    assert not caplog.records
