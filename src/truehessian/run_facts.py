"""What the configuration of a run implies, found without its data and without its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def num_parameters(run: Mapping[str, Any]) -> int:
    """Count the parameters of a run's network, without memory for its weights."""
    from truehessian import models

    return models.count_parameters(_built(run))


def has_batchnorm(run: Mapping[str, Any]) -> bool:
    """Tell whether a run's network normalises by batches."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(module, _BatchNorm) for module in _built(run).modules())


def _built(run: Mapping[str, Any]) -> Any:
    """Build a run's network without memory for its weights."""
    import torch

    from truehessian import models

    with torch.device("meta"):
        return models.build(**model_settings(run))


def model_settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `models.build` for a run: its model section and its data's shape."""
    from truehessian import datasets

    info = datasets.CATALOGUE[run["dataset"]["name"]]
    return {
        **run["model"],
        "num_classes": info.num_classes,
        "input_shape": list(info.input_shape),
    }


def num_train_examples(run: Mapping[str, Any]) -> int:
    """Count the training examples of a run, without its data."""
    from truehessian import datasets

    section = run["dataset"]
    return datasets.num_train_examples(
        section["name"], section["train_examples"], section["test_fraction"]
    )


def num_test_examples(run: Mapping[str, Any]) -> int:
    """Count the test examples of a run, without its data.

    Raises
    ------
    ValueError
        More are asked for than there are.
    """
    from truehessian import datasets

    section = run["dataset"]
    info = datasets.CATALOGUE[section["name"]]
    available = info.num_test
    if available is None:  # one set that is split
        train = datasets.num_train_examples(section["name"], None, section["test_fraction"])
        available = info.num_train - train
    wanted = section["test_examples"]
    if wanted is not None and wanted > available:
        raise ValueError(
            f"test_examples must be at most the {available} test examples of {section['name']}, "
            f"got {wanted}"
        )
    return available if wanted is None else wanted


def num_gpus(device: str) -> int:
    """Count the GPUs that a stage with this `device` setting takes: none where none can be seen."""
    if device == "auto":
        return int(any(Path("/dev").glob("nvidia[0-9]*")))
    return 0 if device == "cpu" else 1


def checkpoint_epochs(run: Mapping[str, Any]) -> list[int]:
    """Epochs whose weights a training run keeps."""
    return sorted(run["training"]["checkpoint_epochs"] or run["epochs"])
