"""Matrices of Hugging Face networks with inputs by name and padding, against plain definitions."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import truehessian as th
from truehessian.data import trees
from truehessian.measurements import variance
from truehessian.networks import registry
from truehessian.networks.losses.base import made
from truehessian.operators.sampled import Fisher

pytest.importorskip("transformers")

NUM, LENGTH, TOKENS, CLASSES = 6, 7, 11, 3
INPUTS = {
    "input_shape": {"input_ids": [LENGTH], "attention_mask": [LENGTH]},
    "input_dtypes": {"input_ids": "int64", "attention_mask": "int64"},
}
BERT = {
    "name": "transformers:BertForSequenceClassification",
    "num_classes": CLASSES,
    "vocab_size": TOKENS,
    "hidden_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": LENGTH,
}
GPT2 = {
    "name": "transformers:GPT2LMHeadModel",
    "num_classes": TOKENS,
    "n_embd": 6,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": LENGTH,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def tokens():
    draw = torch.Generator().manual_seed(0)
    mask = (torch.arange(LENGTH) < torch.tensor([7, 3, 5, 2, 2, 6])[:, None]).long()
    ids = torch.randint(1, TOKENS, (NUM, LENGTH), generator=draw) * mask
    return {"input_ids": ids, "attention_mask": mask}


def predicted(outputs, targets):
    """The loss of language models as it is usually written."""
    return F.cross_entropy(
        outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100
    )


class Own:
    """A loss that only says its values and weights."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, outputs, targets):
        return self.loss(outputs, targets)

    def weights(self, targets):
        return self.loss.weights(targets)


class Case:
    """A network with its data, and what is plainly differentiated."""

    def __init__(self, settings, targets, loss, plain):
        self.model = registry.build(**settings, **INPUTS, seed=0).double().eval()
        for parameter in self.model.parameters():  # away from biases of zero
            parameter.data += 0.1 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
            )
        self.inputs, self.targets = tokens(), targets
        self.loss, self.plain = made(loss), plain
        self.params = list(self.model.parameters())
        self.count = sum(p.numel() for p in self.params)

    def make(self, kind, **how):
        settings = {"chunk_size": 4, "precision": "float64", "loss": self.loss, **how}
        return kind(self.model, (self.inputs, self.targets), **settings)

    def weights(self):
        """How many tokens of each example are predicted; one class otherwise."""
        if self.targets.ndim == 1:
            return torch.ones(NUM, dtype=torch.float64)
        return (self.targets[:, 1:] >= 0).sum(1).double()

    def vectors(self, count):
        draw = torch.Generator().manual_seed(1)
        return torch.randn(self.count, count, generator=draw, dtype=torch.float64)

    def outputs(self, index=slice(None)):
        with sdpa_kernel(SDPBackend.MATH):
            return self.model(**trees.rows(self.inputs, index))

    def gradient(self, index=slice(None)):
        value = self.plain(self.outputs(index), self.targets[index])
        return flat(torch.autograd.grad(value, self.params, create_graph=True))

    def hessian(self, vector, index=slice(None)):
        with sdpa_kernel(SDPBackend.MATH):
            slope = self.gradient(index) @ vector
            return flat(torch.autograd.grad(slope, self.params))

    def ggn(self, vector):
        """Jᵀ W J v, with J v by differentiating Jᵀ w by w."""
        with sdpa_kernel(SDPBackend.MATH):
            outputs = self.outputs()
            weights = torch.zeros_like(outputs, requires_grad=True)
            back = torch.autograd.grad(outputs, self.params, weights, create_graph=True)
            (pushed,) = torch.autograd.grad(flat(back) @ vector, weights)
            logits = outputs.detach().requires_grad_()
            value = self.plain(logits, self.targets)
            (slope,) = torch.autograd.grad(value, logits, create_graph=True)
            (weighted,) = torch.autograd.grad(slope, logits, pushed)
            return flat(torch.autograd.grad(outputs, self.params, weighted))


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def case(request):
    if request.param == "bert":
        return Case(BERT, torch.arange(NUM) % CLASSES, "cross_entropy", F.cross_entropy)
    inputs = tokens()
    labels = inputs["input_ids"].where(inputs["attention_mask"].bool(), -100)
    return Case(GPT2, labels, "next_token", predicted)


def test_the_hessian_is_that_of_plain_double_differentiation(case):
    vectors = case.vectors(2)
    found = case.make(th.Hessian) @ vectors
    expected = torch.stack([case.hessian(vector) for vector in vectors.T], 1)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())


def test_the_gauss_newton_matrix_is_that_of_plain_differentiation(case):
    vectors = case.vectors(2)
    found = case.make(th.GGN) @ vectors
    expected = torch.stack([case.ggn(vector) for vector in vectors.T], 1)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())


def test_it_is_the_same_in_closed_form_and_by_differentiating_the_loss(case):
    """The loss by its name has a closed form, and one of one's own has none."""
    (vector,) = case.vectors(1).T
    own = case.make(th.GGN, loss=Own(case.loss))
    torch.testing.assert_close(case.make(th.GGN) @ vector, own @ vector, rtol=1e-8, atol=1e-10)


def test_tied_embeddings_are_one_parameter(case):
    names = dict(case.model.named_parameters(remove_duplicate=False))
    tied = sum(p.numel() for p in names.values()) - case.count
    assert tied == (TOKENS * 6 if "gpt2" in type(case.model.model).__module__ else 0)
    assert case.make(th.Hessian).num_params == case.count


def test_the_variance_along_directions_is_that_of_its_definition(case):
    directions = torch.linalg.qr(case.vectors(2)).Q.T
    found = variance.along_directions(case.make(th.Hessian, chunk_size=1), directions)
    relative = case.weights() / case.weights().mean()
    for number, direction in enumerate(directions):
        mean = case.hessian(direction)
        ones = [case.hessian(direction, slice(i, i + 1)) for i in range(NUM)]
        spread = torch.stack([(own - mean).square().sum() for own in ones])
        expected = (relative.square() * spread).mean()
        torch.testing.assert_close(found.variance[number], expected, rtol=1e-8, atol=0)
        torch.testing.assert_close(found.quotient[number], direction @ mean, rtol=1e-8, atol=1e-12)


def test_the_empirical_fisher_matrix_is_made_of_gradients_of_examples(case):
    (vector,) = case.vectors(1).T
    gradients = torch.stack([case.gradient(slice(i, i + 1)).detach() for i in range(NUM)])
    weights = case.weights() / case.weights().sum()
    expected = gradients.T @ (weights * (gradients @ vector))
    found = case.make(th.EmpiricalFisher) @ vector
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


def test_the_fisher_matrix_of_many_draws_comes_close_to_the_gauss_newton_matrix(case):
    """A square of a gradient's normal component has a relative error of sqrt(2 / draws)."""
    (vector,) = case.vectors(1).T
    draws = 400
    fisher = vector @ (case.make(Fisher, num_samples=draws) @ vector)
    ggn = vector @ (case.make(th.GGN) @ vector)
    assert fisher.item() == pytest.approx(ggn.item(), rel=5 * (2 / draws) ** 0.5)
