"""Checkpoints: weights, buffers and what is needed to rebuild the network, without pickle."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from truehessian import models, tensorfile
from truehessian.datasets import Dataset

_PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl"}
_PREFIXES = ("module.", "model.", "_orig_mod.")  # left by DataParallel, wrappers and torch.compile
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
        `metadata["model"]` is missing or incomplete.
    """
    _check_settings(metadata.get("model"), "metadata")
    encoded = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    tensorfile.save(path, model.state_dict(), encoded)


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
    if model is None and settings["name"] not in models.BUILT_IN:
        raise ValueError(
            f"{path} names the model {settings['name']!r}, which is not imported on the word of a "
            "file; if you trust it, pass its settings as `model`"
        )
    network = _build(settings)
    _check_fit(path, network.state_dict(), tensors)
    network.load_state_dict(tensors)
    return network.to(device).eval()


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    model_settings: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Make a checkpoint of a user's safetensors file that holds a plain state dict.

    Parameters
    ----------
    source
        The state dict. The prefixes "module.", "model." and "_orig_mod." are removed where all keys
        have them and the network's do not.
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
        The source is a pickle, damaged, or does not fit the network.
    """
    source = Path(source)
    if source.suffix.lower() in _PICKLES:
        raise ValueError(
            f"{source} is a pickle, which is never loaded because it can run code; convert it "
            "where you trust it: safetensors.torch.save_file(model.state_dict(), "
            f"'{source.with_suffix('.safetensors').name}')"
        )
    tensors, _ = tensorfile.load(source)
    _check_settings(model_settings, "model_settings")
    network = _build(model_settings)
    expected = network.state_dict()
    tensors = _strip_prefixes(tensors, expected)
    _check_fit(source, expected, tensors)
    network.load_state_dict(tensors)
    save(target, network, metadata={**metadata, "model": dict(model_settings)})


def _build(settings: Mapping[str, Any]) -> nn.Module:
    # The initial weights are overwritten; the seed only keeps PyTorch's global generator untouched.
    return models.build(**{**settings, "seed": 0})


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


def _strip_prefixes(
    tensors: dict[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    while tensors and set(tensors) != set(expected):
        prefix = next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None)
        if prefix is None:
            break
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def _check_fit(
    path: str | os.PathLike, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    problems = [f"{key} is missing" for key in expected if key not in found]
    problems += [f"{key} is not expected" for key in found if key not in expected]
    problems += [
        f"{key} has shape {tuple(found[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{path} does not fit the model: {', '.join(problems[:3])}{more}")
