"""Checks of a configuration before any job starts, each error one sentence with its remedy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truehessian.pipeline.config import feasibility, schema
from truehessian.pipeline.config.facts import (
    checkpoint_epochs,
    model_settings,
    network_facts,
    num_gpus,
    num_parameters,
    num_test_examples,
    num_train_examples,
)

__all__ = [
    "ConfigError",
    "check",
    "check_networks",
    "checkpoint_epochs",
    "model_settings",
    "num_gpus",
    "num_parameters",
    "num_test_examples",
    "num_train_examples",
]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one readable sentence."""


def check(config: dict[str, Any], schema_file: Path) -> None:
    """Check a configuration and fill in defaults, in place.

    Parameters
    ----------
    config
        What the configuration files say, merged.
    schema_file
        The YAML file of the JSON schema.

    Raises
    ------
    ConfigError
        An unknown key (with its dotted path and the nearest known one), a wrong type or value, or
        values that are impossible together.
    """
    error = schema.complete(config, schema_file)
    if error is not None:
        raise ConfigError(error)
    unknown = [name for name in config["analyse"] if name not in config["runs"]]
    if unknown:
        raise ConfigError(
            f"analyse names the run {unknown[0]!r}, which is not under runs"
            f"{schema.nearest(unknown[0], config['runs'])}"
        )
    for name in config["analyse"]:
        for problem in feasibility.problems(config["runs"][name]):
            raise ConfigError(f"runs.{name}.{problem}")


def check_networks(config: Mapping[str, Any]) -> None:
    """Build the network of each run and check what depends on it; see `run_facts.network_facts`.

    Raises
    ------
    ConfigError
        A network cannot be built, or more Lanczos steps are asked for than it has parameters, or
        batch statistics where there is no batch normalisation or only a single example.
    """
    for name in config["analyse"]:
        run = config["runs"][name]
        try:
            network = network_facts(run)
        except ValueError as error:
            raise ConfigError(f"runs.{name}.model: {error}") from error
        except Exception as error:  # a user's factory, or an argument of the wrong type
            raise ConfigError(
                f"runs.{name}.model: {run['model']['name']} cannot be built from its arguments "
                f"({type(error).__name__}: {error})"
            ) from error
        if run["batchnorm"] and not network.has_batch_norm:
            raise ConfigError(
                f"runs.{name}.batchnorm compares modes of batch normalisation, of which the "
                "network has none; set batchnorm: null"
            )
        if run["spectrum"]["batchnorm"] == "train" and network.has_batch_norm:
            for problem in feasibility.single_examples(run):
                raise ConfigError(f"runs.{name}.{problem}")
        for key, steps in feasibility.step_counts(run):
            if steps > network.num_parameters:
                raise ConfigError(
                    f"runs.{name}.{key} is {steps}, but the network has only "
                    f"{network.num_parameters} "
                    "parameters; at most as many Lanczos steps are possible"
                )
