"""What the configuration of a run implies, found without its data and without its weights."""

import contextlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class NetworkFacts(NamedTuple):
    """What the checks need to know of a network."""

    num_parameters: int
    has_batch_norm: bool


def network_facts(run: Mapping[str, Any]) -> NetworkFacts:
    """Count the parameters of a run's network and look for batch normalisation.

    It is built without memory for its weights where that works; for real, with the global
    generators left alone, where its factory needs numbers (reads them, or loads weights).

    Raises
    ------
    Exception
        Whatever its factory raises when it is called for real.
    """
    import torch

    from truehessian.networks import registry

    settings = {**model_settings(run), "seed": 0}
    # What a factory prints has no place in the output of `snakemake --dag` or `--summary`.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that cannot be loaded there
                model = registry.build(**settings)
        except Exception:
            model = registry.build(**settings)
    return NetworkFacts(registry.count_parameters(model), registry.has_batch_norm(model))


def num_parameters(run: Mapping[str, Any]) -> int:
    """Count the parameters of a run's network; see `network_facts`."""
    return network_facts(run).num_parameters


def model_settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `models.build` for a run: its model section and its data's shape."""
    from truehessian.data import catalogue

    info = catalogue.info(run["dataset"]["name"])
    return {
        **run["model"],
        "num_classes": info.num_classes,
        "input_shape": list(info.input_shape),
    }


def check_normalisation(run: Mapping[str, Any]) -> None:
    """Refuse a normalisation that does not suit the channels of a run's images.

    Raises
    ------
    ValueError
        As `datasets.fetch`.
    """
    from truehessian.data import catalogue

    section = run["dataset"]
    catalogue.normalised(catalogue.info(section["name"]), section["mean"], section["std"])


def num_train_examples(run: Mapping[str, Any]) -> int:
    """Count the training examples of a run, without its data."""
    from truehessian.data import catalogue

    return catalogue.sizes(**run["dataset"]).train


def num_test_examples(run: Mapping[str, Any]) -> int:
    """Count the test examples of a run, without its data.

    Raises
    ------
    ValueError
        More are asked for than there are.
    """
    from truehessian.data import catalogue

    return catalogue.sizes(**run["dataset"]).test


def num_gpus(device: str) -> int:
    """Count the GPUs that a stage with this `device` setting takes: none where none can be seen."""
    if device == "auto":
        return int(any(Path("/dev").glob("nvidia[0-9]*")))
    return 0 if device == "cpu" else 1


def checkpoint_epochs(run: Mapping[str, Any]) -> list[int]:
    """Epochs whose weights a training run keeps."""
    return sorted(run["training"]["checkpoint_epochs"] or run["epochs"])
