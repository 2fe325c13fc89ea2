"""Weights of Hugging Face's networks, however they are saved."""

import pytest
import torch

from truehessian.networks import checkpoints, registry

pytest.importorskip("transformers")

GPT2 = {
    "name": "transformers:GPT2LMHeadModel",
    "num_classes": 11,
    "input_shape": {"input_ids": [5], "attention_mask": [5]},
    "input_dtypes": {"input_ids": "int64", "attention_mask": "int64"},
    "n_embd": 4,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 8,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def prefixed(prefix):
    return lambda network: {f"{prefix}{name}": each for name, each in network.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.pt", prefixed("")),
        ("pytorch_model.bin", prefixed("")),
        ("wrapped.pth", prefixed("model.")),
        ("parallel.pt", prefixed("module.")),
        ("compiled.pt", prefixed("module._orig_mod.")),
        ("nested.ckpt", lambda network: {"state_dict": prefixed("model.")(network), "epoch": 3}),
        ("beside.pt", lambda network: {"model": prefixed("")(network), "args": {"lr": 0.1}}),
    ],
)
def test_a_state_dict_is_taken_whatever_it_stands_under(tmp_path, name, content):
    ours = registry.build(**GPT2, seed=1)
    torch.save(content(ours.model), tmp_path / name)
    compare(ours, tmp_path / name)


def test_what_a_network_saves_itself_is_taken_without_the_tied_weights(tmp_path):
    ours = registry.build(**GPT2, seed=1)
    ours.model.save_pretrained(tmp_path)
    compare(ours, tmp_path / "model.safetensors")


def compare(ours, path):
    made = path.with_name("converted.safetensors")
    checkpoints.convert(path, made, model_settings=GPT2, metadata={})
    loaded = checkpoints.load(made, model=GPT2)
    assert registry.count_parameters(loaded) == registry.count_parameters(ours)
    for name, tensor in ours.state_dict().items():
        assert loaded.state_dict()[name].equal(tensor), name
