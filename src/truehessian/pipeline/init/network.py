"""The network of a run, looked at: its parameters, its weights, and what it recognises."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from truehessian import devices, streams, text
from truehessian.data import trees
from truehessian.data.examples import Examples
from truehessian.networks import evaluation, parameters, registry, state_dicts, weights
from truehessian.networks.libraries import LIBRARIES
from truehessian.networks.libraries.library import absence
from truehessian.pipeline.config.networks import NetworkFacts, facts_of
from truehessian.pipeline.init.data import Data
from truehessian.report import measures

_AT_ONCE = 64  # examples per forward pass of an evaluation
_TRIED = 512  # examples that weights are evaluated on
_LISTED = 8  # parts of a network that are counted one by one


class Network(NamedTuple):
    """A section `model` and what it makes of the data's shape.

    Attributes
    ----------
    section
        Name and arguments.
    module
        On the CPU, with the weights of its initialisation, or the last that were loaded.
    """

    section: dict[str, Any]
    module: nn.Module

    @property
    def facts(self) -> NetworkFacts:
        """What checks of a configuration know of it."""
        return facts_of(self.module)


def look(name: str, arguments: Mapping[str, Any], data: Data) -> Network:
    """Build a network for data.

    Raises
    ------
    ValueError
        There is no such network, or it cannot be built.
    """
    name = _import_path(name)
    section = {"name": name, **arguments}
    about = data.section.info
    shape = {"num_classes": about.num_classes, **about.network_inputs}
    taken = sorted(set(shape) & set(arguments))
    if taken:
        raise ValueError(f"model: {taken[0]} cannot be set, because the data decide it")
    try:
        module = registry.build(**section, **shape, seed=0)
        registry.check_output(module, **section, **shape)
    except ValueError as error:
        raise ValueError(f"{error}{_of_a_library(name)}") from error
    except Exception as error:  # a user's factory
        raise ValueError(
            f"model {name} cannot be built from its arguments ({text.exception(error)})"
        ) from error
    return Network(section, module.eval())


def lines(network: Network) -> Iterator[str]:
    """Say how many parameters there are, and where."""
    sizes: dict[str, int] = {}
    for names, parameter in parameters.named(network.module):
        top = names[0].partition(".")[0]
        sizes[top] = sizes.get(top, 0) + parameter.numel()
    shown = [f"{name} {size:,}" for name, size in list(sizes.items())[:_LISTED]]
    more = len(sizes) - len(shown)
    rest = [f"{more} more parts {sum(list(sizes.values())[_LISTED:]):,}"] if more else []
    yield (
        f"Network: {network.section['name']}, P = {network.facts.num_parameters:,} parameters: "
        f"{', '.join(shown + rest)}"
    )


def load(network: Network, path: str, data: Data) -> None:
    """Put weights of a file into the network.

    Raises
    ------
    ValueError, OSError
        There is no such file, or its weights do not fit; where it is the number of classes that
        differs, the sentence says so.
    """
    tensors = weights.read(Path(path))
    try:
        state_dicts.load(network.module, tensors, path)
    except ValueError as error:
        raise ValueError(f"{error}{_other_classes(network, tensors, data)}") from error


def recognised(network: Network, data: Data, loss: Any, device: torch.device) -> evaluation.Metrics:
    """Evaluate loss and measure on some training examples.

    Raises
    ------
    ValueError
        The network does not take the inputs, has too few outputs, or does not go with the loss.
    """
    examples = some(data, _TRIED).to(device)
    module = copy.deepcopy(network.module).to(device)
    name = network.section["name"]
    try:
        with torch.no_grad(), devices.deterministic_algorithms(tf32=False):
            _check_classes(name, trees.passed(module, next(examples.chunks(2))[0]), data)
            return evaluation.evaluate(module, examples, loss=loss, chunk_size=_AT_ONCE)
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"model {name} with this loss cannot be evaluated on these data, inputs of shape "
            f"{data.examples.input_shape} ({text.exception(error)})"
        ) from error


def judged(metrics: evaluation.Metrics, data: Data) -> str:
    """Say what the network recognises, beside chance."""
    count = min(_TRIED, len(data.examples.train))
    said = f"on {count} training examples: loss {text.number(metrics.loss)}"
    for name, value in metrics.measured.items():
        said += f", {measures.label(name)} {measures.written(name, value)}"
    for name, value in metrics.chance.items():
        said += f"; guessing gives {measures.written(name, value)}"
    return said


def some(data: Data, number: int) -> Examples:
    """Take some training examples at random: files often have them class after class."""
    train = data.examples.train
    order = streams.generator(0, "first look").permutation(len(train))
    return train.subset(order[:number])


def _import_path(name: str) -> str:
    """Take `folder/module.py:factory` for the import path that is meant."""
    file, colon, factory = name.rpartition(":")
    if colon and file.endswith(".py") and Path(file).is_file():
        return f"{'.'.join(Path(file).with_suffix('').parts)}:{factory}"
    return name


def _of_a_library(name: str) -> str:
    """Suggest a library's network of this name, as the end of a sentence."""
    if ":" in name:
        return ""
    for library in LIBRARIES:
        if absence(library, name) is None:
            try:
                LIBRARIES.load(library).factory(name)
            except ValueError:
                continue
            return f"; {library} has one: --model {library}:{name}"
    return ""


def _check_classes(name: str, outputs: Any, data: Data) -> None:
    if data.classes is None or not isinstance(outputs, Tensor) or outputs.ndim < 2:
        return
    number = outputs.shape[1]
    if number < data.examples.num_classes:
        raise ValueError(
            f"model {name} gives {number} outputs, and the data have {data.examples.num_classes} "
            "classes; let it make one output for each class (num_classes)"
        )


def _other_classes(network: Network, tensors: Mapping[str, Tensor], data: Data) -> str:
    """Say that weights are those of another number of classes, if they are."""
    ours = data.examples.num_classes
    for name, own in network.module.state_dict().items():
        if not own.ndim or own.shape[0] != ours:
            continue
        ends = [t for key, t in tensors.items() if key == name or key.endswith(f".{name}")]
        for theirs in ends:
            if theirs.shape[1:] == own.shape[1:] and theirs.shape[0] != ours:
                return (
                    f"; the weights are for {theirs.shape[0]} classes and the data have {ours}: "
                    "take the data that the network was trained on, or leave the classes as they "
                    "were there"
                )
    return ""
