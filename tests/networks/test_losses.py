"""Losses by name and by import path, with arguments: made, or refused in one sentence."""

import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from truehessian.data.examples import Examples
from truehessian.networks import evaluation
from truehessian.networks.losses import LOSSES, base
from truehessian.networks.losses.cross_entropy import CrossEntropy

PAGE = (Path(__file__).parents[2] / "docs/losses.md").read_text(encoding="utf-8")
OWN = """
import torch
import torch.nn.functional as F
from torch import nn

def plain(outputs, targets):
    return F.mse_loss(outputs, targets)

def scaled(outputs, targets, *, factor, power=1.0):
    return factor * F.mse_loss(outputs, targets) ** power

scaled.weights = lambda targets: targets.double()

def one(outputs):
    return outputs.mean()

class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        if factor <= 0:
            raise ValueError(f"factor must be positive, got {factor}")
        self.factor = 1.0 / factor

    def forward(self, outputs, targets):
        return F.mse_loss(outputs, targets) / self.factor

class NoLoss:
    pass

class OfOne:
    def __call__(self, outputs):
        return outputs.mean()

MADE = Scaled(2.0)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_losses", None)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "own_losses:scaled", "factor": 3.0},
        {"name": "own_losses:scaled", "factor": 3.0, "power": 1.0},
        {"name": "own_losses:Scaled", "factor": 3},
    ],
)
def test_functions_and_classes_of_ones_own_take_arguments(own, settings):
    outputs, targets = torch.randn(2, 5)
    loss = base.of_settings(settings)
    torch.testing.assert_close(loss(outputs, targets), 3 * F.mse_loss(outputs, targets))


def test_a_name_alone_is_that_of_a_function_or_of_what_is_made_already(own):
    outputs, targets = torch.randn(2, 5)
    mean = F.mse_loss(outputs, targets)
    torch.testing.assert_close(base.of_settings("own_losses:plain")(outputs, targets), mean)
    torch.testing.assert_close(base.of_settings("own_losses:MADE")(outputs, targets), 2 * mean)
    found = base.of_settings({"name": "torch.nn:HuberLoss", "delta": 0.5})
    expected = F.huber_loss(outputs, targets, delta=0.5)
    torch.testing.assert_close(found(outputs, targets), expected)


def test_a_function_with_arguments_keeps_its_weights(own):
    """Without them, its mean would be taken for that over examples."""
    loss = base.made("own_losses:scaled", {"factor": 2.0})
    assert loss.weights(torch.tensor([1.0, 3.0])).tolist() == [1.0, 3.0]
    assert base.name_of(loss) == "scaled"


def test_built_in_losses_take_their_arguments():
    outputs, targets = torch.randn(7, 3), torch.tensor([0, 1, 2, 2, 1, 5, 0])
    how = {"label_smoothing": 0.2, "weight": [1.0, 2.0, 0.5], "ignore_index": 5}
    loss = base.of_settings({"name": "cross_entropy", **how})
    assert isinstance(loss, CrossEntropy)
    expected = F.cross_entropy(outputs, targets, **how | {"weight": torch.tensor(how["weight"])})
    torch.testing.assert_close(loss(outputs, targets), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("cross_entropy", {"label_smothing": 0.1}, "takes weight, ignore_index, label_smoothing, "),
        ("cross_entropy", {"label_smothing": 0.1}, "; did you mean 'label_smoothing'?"),
        ("cross_entropy", {"label_smoothing": 1.5}, "label_smoothing must lie in [0, 1], got 1.5"),
        ("cross_entropy", {"label_smoothing": "much"}, "must lie in [0, 1], got 'much'"),
        ("cross_entropy", {"weight": [1.0, -1.0]}, "weight must be one number from 0 on for each"),
        ("cross_entropy", {"weight": "equal"}, "weight must be one number from 0 on for each"),
        ("cross_entropy", {"weight": [1.0, None]}, "weight must be one number from 0 on for each"),
        ("cross_entropy", {"ignore_index": 1.5}, "ignore_index must be a whole number, got 1.5"),
        ("cross_entropy", {"class_axis": 2}, "class_axis must be 1, -1 or null, got 2"),
        ("next_token", {"ignore_index": "pad"}, "ignore_index must be a whole number, got 'pad'"),
        ("nll_loss", {"weight": [float("nan")]}, "weight must be one number from 0 on for each"),
        ("nll_loss", {"label_smoothing": 0.1}, "takes weight, ignore_index, got 'label_smoothing'"),
        ("mse", {"reduction": "sum"}, "loss mse takes no arguments, got 'reduction'"),
        ("binary_cross_entropy", {"pos_weight": -1}, "pos_weight must be one number from 0 on"),
        ("binary_cross_entropy", {"pos_wieght": 1}, "did you mean 'pos_weight'?"),
        ("own_losses:scaled", {"fcator": 1.0}, "takes factor, power, got 'fcator'; did you mean"),
        ("own_losses:scaled", {}, "loss own_losses:scaled needs factor; give it beside the name"),
        ("own_losses:plain", {"factor": 1.0}, "loss own_losses:plain takes no arguments, got"),
        ("own_losses:one", {}, "must take outputs and targets, but takes (outputs)"),
        ("own_losses:Scaled", {}, "loss own_losses:Scaled needs factor"),
        ("own_losses:Scaled", {"factor": -1}, "own_losses:Scaled: factor must be positive, got -1"),
        ("own_losses:Scaled", {"factor": "a"}, "own_losses:Scaled: TypeError"),
        ("own_losses:Scaled", {"factr": 1}, "takes factor, got 'factr'; did you mean 'factor'?"),
        ("own_losses:NoLoss", {}, "is a NoLoss and not a function of outputs and targets"),
        ("own_losses:OfOne", {}, "must take outputs and targets, but takes (outputs)"),
        ("own_losses:MADE", {"targets2": 1}, "takes no arguments, got 'targets2'"),
        ("own_losses:plian", {}, "module own_losses has no 'plian'; did you mean 'plain'?"),
        ("crossentropy", {}, "did you mean 'cross_entropy'?"),
    ],
)
def test_what_a_loss_does_not_take_is_one_sentence(own, name, arguments, sentence):
    with pytest.raises(ValueError, match="loss ") as caught:
        base.made(name, arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_page_on_losses_has_all_of_them_with_their_arguments():
    rows = {
        cells[1].strip(" `"): cells[3]
        for cells in (line.split("|") for line in PAGE.splitlines())
        if len(cells) == 7 and "`" in cells[1]
    }
    assert set(rows) == set(LOSSES)
    for name in LOSSES:
        known = set(inspect.signature(LOSSES.load(name)).parameters) - {"as_pytorch"}
        if name == "next_token":
            assert rows[name].strip() == "as above"
        else:
            assert set(re.findall(r"`(\w+)`", rows[name])) == known


def test_the_losses_of_ones_own_on_the_page_work(tmp_path, monkeypatch):
    (tmp_path / "page_losses.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    outputs, wanted, error = torch.rand(3, 6)
    huber = base.of_settings({"name": "page_losses:huber", "delta": 0.5})
    assert huber(outputs, wanted) == F.huber_loss(outputs, wanted, delta=0.5)
    targets = {"value": wanted, "error": error}
    found = evaluation.evaluate(
        torch.nn.Identity(),
        Examples(outputs, targets),
        chunk_size=4,
        loss=base.made("page_losses:Weighted"),
    )
    weights = 1 / error.double() ** 2
    expected = (weights * (outputs - wanted).double() ** 2).sum() / weights.sum()
    assert found.loss == pytest.approx(expected.item(), rel=1e-5)
    mean = -(outputs - wanted).abs().mean().item()
    assert found.measured == {"negative_absolute_error": pytest.approx(mean, rel=1e-5)}
    sys.modules.pop("page_losses")
