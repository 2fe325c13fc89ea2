"""Weights of other programs: what is taken, and what is refused in a sentence."""

import copy
import logging

import pytest
import safetensors.torch
import torch
from torch import nn

from truehessian.networks import state_dicts

_COUNTER = "num_batches_tracked"


class Tied(nn.Module):
    """Shares a whole weight, and another one transposed."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(3, 3) for _ in range(3))
        self.second.weight = self.first.weight
        self.third.weight = nn.Parameter(self.first.weight.detach().T)

    def forward(self, inputs):
        return self.third(self.second(self.first(inputs)))


class TiedOnce(Tied):
    """Without the transposed weight, of which `save_model` cannot find the end."""

    def __init__(self):
        super().__init__()
        self.third = nn.Linear(3, 3)


class Tables(nn.Module):
    """Buffers of all kinds beside a normalisation."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.order = nn.Parameter(torch.tensor([2, 0, 1]), requires_grad=False)
        self.register_buffer("positions", torch.arange(3))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("scale", torch.ones(3))

    def forward(self, inputs):
        return self.norm(inputs[:, self.order])


def changed(make):
    """A network whose weights and statistics are not those of a fresh one."""
    torch.manual_seed(3)
    model = make()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model


def plain():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def assert_same(model, other):
    theirs = other.state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.equal(theirs[name]), name


def refusal(model, tensors):
    with pytest.raises(ValueError, match=r"^w\.safetensors") as error:
        state_dicts.load(model, tensors, "w.safetensors")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("make", [TiedOnce, plain, Tables])
def test_what_save_model_writes_is_taken(make, tmp_path):
    """It writes one name only of weights that share memory."""
    source, target = changed(make), make()
    safetensors.torch.save_model(source, tmp_path / "w.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "w.safetensors")
    state_dicts.load(target, tensors, "w.safetensors")
    assert_same(target, source)


def test_a_shared_weight_is_found_under_either_name():
    source = changed(Tied)
    for left_out in ("first.weight", "second.weight", "third.weight"):
        tensors = {k: v for k, v in source.state_dict().items() if k != left_out}
        target = Tied()
        state_dicts.load(target, tensors, "w")
        assert_same(target, source)


def test_a_shared_weight_may_lie_in_a_larger_memory():
    """As flattened weights do; what lies beside it there is not shared."""
    model, flat = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3))), torch.zeros(8)
    for layer, part in zip(model, (flat[:4], flat[:4], flat[4:]), strict=True):
        layer.weight = nn.Parameter(part.view(2, 2))
    state_dicts.load(model, {"0.weight": torch.ones(2, 2), "2.weight": torch.ones(2, 2)}, "w")
    assert model[1].weight.equal(torch.ones(2, 2))
    text = refusal(model, {"0.weight": torch.ones(2, 2)})
    assert text == "w.safetensors does not fit the model: 2.weight is missing"


def test_shared_weights_with_two_values_are_refused():
    tensors = copy.deepcopy(changed(Tied).state_dict())
    tensors["second.weight"] = tensors["first.weight"] + 1
    assert "shares its memory with other weights" in refusal(Tied(), tensors)


def test_counters_tables_and_masks_may_be_missing_and_nothing_else():
    source = changed(Tables)
    state = source.state_dict()
    dispensable = {"norm.num_batches_tracked", "positions", "mask"}
    target = Tables()
    state_dicts.load(target, {k: v for k, v in state.items() if k not in dispensable}, "w")
    assert_same(target, source)
    for name in state.keys() - dispensable:
        tensors = {k: v for k, v in state.items() if k != name}
        assert f"does not fit the model: {name} is missing" in refusal(Tables(), tensors)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "state_dict.", "state_dict.model.module.", "net.body."]
)
def test_a_prefix_of_all_names_is_made_up_for(prefix):
    source, target = changed(plain), plain()
    state_dicts.load(target, {prefix + k: v for k, v in source.state_dict().items()}, "w")
    assert_same(target, source)


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda net: nn.ModuleDict({"model": net}), torch.compile]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_wrapped_network_takes_the_names_of_the_plain_one_and_its_own(wrap):
    source = changed(plain)
    for names in (source, wrap(source)):
        target = plain()
        state_dicts.load(wrap(target), names.state_dict(), "w")
        assert_same(target, source)


def test_wrappers_of_inner_layers_are_made_up_for():
    source, target = changed(plain), plain()
    source[0] = nn.ModuleDict({"_orig_mod": source[0]})
    state_dicts.load(target, source.state_dict(), "w")
    assert target[0].weight.equal(source[0]["_orig_mod"].weight)


def test_entries_outside_of_the_prefix_are_left_out_and_named(caplog):
    source, target = changed(plain), plain()
    tensors = {f"state_dict.{k}": v for k, v in source.state_dict().items()}
    tensors["optimizer.step"] = torch.tensor(3)
    with caplog.at_level(logging.WARNING):
        state_dicts.load(target, tensors, "w")
    assert_same(target, source)
    assert "only names under state_dict. are taken, not optimizer.step" in caplog.text


def test_names_that_mean_two_things_are_refused():
    state = changed(plain).state_dict()
    twice = {f"{p}.{k}": v.clone() for p in ("model", "ema") for k, v in state.items()}
    assert "several times, under ema. and model.; save only" in refusal(plain(), twice)
    both = state | {f"_orig_mod.{k}": v.clone() for k, v in state.items()}
    assert "both of a wrapped network and of a plain one" in refusal(plain(), both)


def test_entries_that_the_network_does_not_have_are_refused_by_name():
    state = changed(plain).state_dict()
    state["0.gamma"] = torch.ones(4)
    assert "0.gamma is not expected" in refusal(plain(), state)
    without = nn.Sequential(nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 2))
    text = refusal(without, changed(plain).state_dict())
    assert text.endswith("1.bias is not expected, 1.running_mean is not expected, and 1 more")


def test_shapes_are_compared():
    state = changed(plain).state_dict()
    state["2.bias"] = torch.ones(3)
    assert refusal(plain(), state).endswith("2.bias has shape (3,) instead of (2,)")
    state = changed(plain).state_dict()
    state[f"1.{_COUNTER}"] = torch.tensor([7])  # as arrays of one number are written elsewhere
    target = plain()
    state_dicts.load(target, state, "w")
    assert target[1].num_batches_tracked.item() == 7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_rounded(dtype):
    source, target = changed(plain), plain()
    tensors = {
        k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()
    }
    state_dicts.load(target, tensors, "w")
    for name, tensor in target.state_dict().items():
        assert tensor.equal(tensors[name].to(tensor.dtype))
        assert tensor.dtype == source.state_dict()[name].dtype


@pytest.mark.parametrize(
    ("name", "value", "piece"),
    [
        ("norm.weight", torch.ones(3, dtype=torch.int8), "torch.int8 instead of torch.float32"),
        ("norm.weight", torch.ones(3, dtype=torch.bool), "torch.bool instead of torch.float32"),
        ("norm.weight", torch.ones(3, dtype=torch.complex64), "torch.complex64 instead of"),
        ("norm.running_var", torch.ones(3, dtype=torch.int8), "perhaps because the weights are"),
        ("norm.weight", torch.tensor([1.0, torch.nan, 1.0]), "norm.weight is not finite"),
        ("norm.bias", torch.tensor([1.0, 1e300, 1.0], dtype=torch.float64), "is not finite in"),
        ("order", torch.tensor([0.5, 1.0, 2.0]), "torch.float32 that torch.int64 does not have"),
        ("mask", torch.tensor([3, 0, 1]), "torch.int64 that torch.bool does not have"),
    ],
)
def test_numbers_that_cannot_stand_for_the_networks_are_refused(name, value, piece):
    state = changed(Tables).state_dict() | {name: value}
    text = refusal(Tables(), state)
    assert name in text
    assert piece in text


def test_whole_numbers_in_another_type_are_taken():
    source, target = changed(Tables), Tables()
    state = source.state_dict()
    state |= {"order": state["order"].float(), "mask": state["mask"].to(torch.uint8)}
    state["scale"] = torch.tensor([-torch.inf, 0.0, torch.nan])  # buffers may hold what they like
    state_dicts.load(target, state, "w")
    assert target.order.equal(source.order)
    assert target.mask.equal(source.mask)


def test_names_from_before_a_layer_was_parametrised_are_known_to_pytorch():
    source = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    target = copy.deepcopy(source)
    state = {
        "bias": torch.ones(2),
        "weight_g": torch.full((2, 1), 2.0),
        "weight_v": torch.full((2, 3), 3.0),
    }
    state_dicts.load(target, state, "w")
    assert target.parametrizations.weight.original1.equal(state["weight_v"])


def test_a_state_that_is_no_tensor_is_refused():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"scale": 1}

    with pytest.raises(ValueError, match=r"keeps _extra_state \(dict\), which is no tensor"):
        state_dicts.tensors_of(Extra(2, 2))
