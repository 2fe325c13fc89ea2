"""Checks of a configuration before any job starts, each error one sentence with its remedy."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from truehessian.pipeline.config import known, sentences
from truehessian.pipeline.config.configuration import Configuration
from truehessian.pipeline.config.loss import settings_of
from truehessian.pipeline.config.networks import NetworkFacts
from truehessian.pipeline.config.run import Run


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one readable sentence."""


def check(config: Mapping[str, Any], infos: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration, with defaults filled in.

    Parameters
    ----------
    config
        What the configuration files say, merged.
    infos
        What is known of data sets already, as `data_infos` gives it: their sources are not asked.

    Raises
    ------
    ConfigError
        An unknown key (with its dotted path and the nearest known one), a wrong type or value, or
        values that are impossible together in a run that is to be done.
    """
    try:
        return Configuration.model_validate(config, context=infos)
    except ValidationError as error:
        raise ConfigError(sentences.of_error(error, Configuration)) from error


def data_infos(configuration: Configuration) -> dict[str, Any]:
    """Say what is known of the data of runs to be done, in values that JSON can hold.

    To find it out, all files of images may have to be counted, or a user's own function to make
    the data: jobs get it from the process that starts them.
    """
    sections = [run.dataset for run in configuration.analysed.values()]
    # Names of classes, of which there may be thousands, are for people.
    known = {each.question: each.info._replace(class_names=()) for each in sections}
    return {question: info._asdict() for question, info in known.items()}


def check_networks(configuration: Configuration) -> None:
    """Build the network of each run and check what depends on it; see `known`.

    Raises
    ------
    ConfigError
        A network cannot be built, has no parameters of the names that are asked for, or fewer than
        Lanczos steps are asked for; or
        batch statistics where there is no batch normalisation or only a single example.
    """
    for name, run in configuration.analysed.items():
        network = _network(name, run)
        if run.batchnorm and not network.has_batch_norm:
            raise ConfigError(
                f"runs.{name}.batchnorm compares modes of batch normalisation, of which the "
                "network has none; set batchnorm: null"
            )
        if run.spectrum.batchnorm == "train" and network.has_batch_norm:
            for problem in run.single_examples():
                raise ConfigError(f"runs.{name}.{problem}")
        _check_groups(name, run, network)
        for key, patterns in run.selections():
            count = _count(network, patterns, f"runs.{name}.{key}parameters")
            for path, steps in run.step_counts():
                inside = path.startswith(key) if key else not path.startswith("operators.")
                if inside and steps > count:
                    raise ConfigError(
                        f"runs.{name}.{path} is {steps}, but the network has only {count} "
                        f"parameters{' of these names' if patterns else ''}; at most as many "
                        "Lanczos steps are possible"
                    )


def check_losses(configuration: Configuration) -> None:
    """Make the loss of each run, so that what its arguments may not be is known.

    Raises
    ------
    ConfigError
        It cannot be imported, is none, or does not take the arguments.
    """
    for name, run in configuration.analysed.items():
        try:
            with contextlib.redirect_stdout(sys.stderr):  # as of networks
                known.check_loss(settings_of(run.loss))
        except ValueError as error:
            raise ConfigError(f"runs.{name}.loss: {error}") from error


def _count(network: NetworkFacts, patterns: Sequence[str] | None, path: str) -> int:
    try:
        return network.count(patterns)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check_groups(name: str, run: Run, network: NetworkFacts) -> None:
    if run.groups:
        try:
            network.groups(run.parameters, run.groups.parameters)
        except ValueError as error:
            raise ConfigError(f"runs.{name}.groups.parameters: {error}") from error


def _network(name: str, run: Run) -> NetworkFacts:
    try:
        return known.network_facts(run.network)
    except ValueError as error:
        raise ConfigError(f"runs.{name}.model: {error}") from error
    except Exception as error:  # a user's factory, or an argument of the wrong type
        raise ConfigError(
            f"runs.{name}.model: {run.model.name} cannot be built from its arguments "
            f"({type(error).__name__}: {error})"
        ) from error
