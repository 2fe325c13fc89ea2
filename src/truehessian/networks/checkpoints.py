"""Checkpoints: weights, buffers and what is needed to rebuild the network, without pickle."""

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from truehessian import tensorfile
from truehessian.data.dataset import Dataset
from truehessian.networks import NETWORKS, registry, state_dicts, weights

_MODEL_KEYS = {"name", "num_classes", "input_shape"}


def save(path: str | os.PathLike, model: nn.Module, *, metadata: Mapping[str, Any]) -> None:
    """Write parameters and buffers; same model and metadata, same bytes.

    Parameters
    ----------
    path
        The file, written under a temporary name and renamed.
    model
        Of any dtype, on any device.
    metadata
        Values of JSON. `model` must hold the keyword arguments of `models.build` without the seed
        (name, num_classes, input_shape and the network's own). By convention there are also
        `dataset`, `normalisation`, `epoch`, `seed` and `training_precision`.

    Raises
    ------
    ValueError
        `metadata["model"]` is missing or incomplete, or the network keeps a state that is no
        tensor.
    """
    _check_settings(metadata.get("model"), "metadata")
    encoded = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    tensorfile.save(path, state_dicts.tensors_of(model), encoded)


def describe(
    network: Mapping[str, Any],
    dataset: Dataset,
    *,
    epoch: int,
    seed: int | None,
    training_precision: str | None,
) -> dict[str, Any]:
    """Put together the metadata of a checkpoint.

    Parameters
    ----------
    network
        Keyword arguments of `models.build` without the seed.
    dataset
        What the network is trained on; its name and normalisation are kept.
    epoch
        Of the weights; 0 is the initialisation.
    seed, training_precision
        Of the training, None if it is not known. The weights are in float32 whatever the precision.
    """
    return {
        "model": dict(network),
        "dataset": dataset.name,
        "normalisation": {"mean": dataset.train.mean, "std": dataset.train.std},
        "epoch": epoch,
        "seed": seed,
        "training_precision": training_precision,
    }


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `save` was given as metadata; lists come back for tuples.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or was not written by `save`.
    """
    return _decode(path, tensorfile.load_metadata(path))


def load(
    path: str | os.PathLike,
    *,
    model: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Rebuild the network of a checkpoint, in evaluation mode.

    Parameters
    ----------
    path
        A file written by `save` or `convert`.
    model
        Keyword arguments of `models.build` to use instead of those in the file. A network that is
        named by an import path is only imported if it is named here: a file cannot make us run
        code.
    device
        Where to put the network. Its parameters keep the dtype that it is built with.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, names an import path, or does not fit the network.
    """
    tensors, strings = tensorfile.load(path, "cpu")
    settings = _decode(path, strings).get("model") if model is None else model
    settings = _check_settings(settings, f"{path}" if model is None else "model")
    if model is None and settings["name"] not in NETWORKS:
        raise ValueError(
            f"{path} names the model {settings['name']!r}, which is not imported on the word of a "
            "file; if you trust it, pass its settings as `model`"
        )
    network = _build(settings)
    state_dicts.check_fit(path, state_dicts.tensors_of(network), tensors)
    network.load_state_dict(tensors)
    return network.to(device).eval()


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    model_settings: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Make a checkpoint of a user's file that holds a plain state dict.

    Parameters
    ----------
    source
        The state dict, as `safetensors.torch.save_model`, `save_file` or `torch.save` writes it.
        Its names may stand under a prefix; see `weights.read` and `state_dicts.load`.
    target
        The checkpoint to write.
    model_settings
        Keyword arguments of `models.build` without the seed; an import path is imported.
    metadata
        As for `save`, without `model`.

    Raises
    ------
    FileNotFoundError
        There is no source.
    ValueError
        The source holds more than weights, is damaged, or does not fit the network.
    """
    tensors = weights.read(source)
    _check_settings(model_settings, "model_settings")
    network = _build(model_settings)
    state_dicts.load(network, tensors, source)
    save(target, network, metadata={**metadata, "model": dict(model_settings)})


def _build(settings: Mapping[str, Any]) -> nn.Module:
    # The initial weights are overwritten; the seed only keeps PyTorch's global generator untouched.
    return registry.build(**{**settings, "seed": 0})


def _check_settings(settings: Any, source: str) -> Mapping[str, Any]:
    keys = set(settings) if isinstance(settings, Mapping) else set()
    if not keys >= _MODEL_KEYS:
        raise ValueError(
            f"{source} must hold the model settings name, num_classes and input_shape, "
            f"but lacks {', '.join(sorted(_MODEL_KEYS - keys))}"
        )
    return settings


def _decode(path: str | os.PathLike, strings: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {key: json.loads(value) for key, value in strings.items()}
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} was not written by this package: its metadata are not JSON; use `convert`"
        ) from error
