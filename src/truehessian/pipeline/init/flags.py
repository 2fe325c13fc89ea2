"""What the command is told by flags. Needs no PyTorch."""

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

import yaml

from truehessian.data.sources import SOURCES
from truehessian.networks import NETWORKS
from truehessian.networks.losses import LOSSES
from truehessian.pipeline.config.fields import Chosen

_WORDS = get_args(get_args(Chosen)[-1])  # that stand for some parameters, as `trainable`


class Wishes(NamedTuple):
    """What was given; None where it was not, and has to be asked or chosen.

    Attributes
    ----------
    name, output, force
        Name of the run, the file to write, and whether one that is there may be replaced.
    data, data_arguments, train_examples, test_examples, mean, std
        A name, a path or an import path, and what goes into the section `dataset`.
    model, model_arguments
        A name or an import path, and what its factory takes beside.
    weights, train
        A file, or a pattern with ``{epoch}``; or whether to train.
    loss, loss_arguments, parameters, epochs, steps, batch_sizes, device
        As in a configuration.
    quick
        Whether to look first, with few examples and steps.
    """

    name: str | None = None
    output: str | None = None
    force: bool = False
    data: str | None = None
    data_arguments: Mapping[str, Any] = MappingProxyType({})
    train_examples: int | None = None
    test_examples: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    model: str | None = None
    model_arguments: Mapping[str, Any] = MappingProxyType({})
    weights: str | None = None
    train: bool = False
    loss: str | None = None
    loss_arguments: Mapping[str, Any] = MappingProxyType({})
    parameters: list[str] | None = None
    epochs: list[int] | None = None
    steps: int | None = None
    batch_sizes: list[int] | None = None
    device: str | None = None
    quick: bool = False

    @property
    def chosen(self) -> Any:
        """Parameters as in a configuration: patterns, or a word for some."""
        words = self.parameters
        return words[0] if words is not None and len(words) == 1 and words[0] in _WORDS else words

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "Wishes":
        """Take them from what was parsed by the arguments of `add_to`.

        Raises
        ------
        ValueError
            An argument of data, network or loss is no KEY=VALUE.
        """
        values = {name: getattr(parsed, name) for name in cls._fields}
        for kind in ("data", "model", "loss"):
            pairs = (_pair(f"{kind}-arg", text) for text in values[f"{kind}_arguments"])
            values[f"{kind}_arguments"] = dict(pairs)
        return cls(**values)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Let a parser take the flags."""
    add = parser.add_argument
    add("--data", metavar="NAME_OR_PATH", help=f"one of {', '.join(SOURCES)}; a file of "
        "arrays (.npz, .safetensors), a folder of images, or package.module:function")  # fmt: skip
    add("--data-arg", metavar="KEY=VALUE", action="append", default=[], dest="data_arguments",
        help="of the source, such as size=64 of images")  # fmt: skip
    add("--train-examples", metavar="N", type=int, help="a random subset of the training split")
    add("--test-examples", metavar="N", type=int, help="the same of the test split")
    add("--mean", metavar="M", type=float, nargs="+", help="of the normalisation, per channel")
    add("--std", metavar="S", type=float, nargs="+", help="standard deviation that goes with it")
    add("--model", metavar="NAME", help=f"{', '.join(NETWORKS)}, torchvision:resnet18, timm:NAME, "
        "transformers:CLASS, or package.module:factory")  # fmt: skip
    add("--model-arg", metavar="KEY=VALUE", action="append", default=[], dest="model_arguments",
        help="what the network takes beside classes and shape, such as hidden=[32,16]")  # fmt: skip
    whence = parser.add_mutually_exclusive_group()
    whence.add_argument("--weights", metavar="PATH", help="weights.pt, or weights/{epoch}.pt")
    whence.add_argument("--train", action="store_true", help="train instead")
    add("--loss", metavar="NAME", help=f"{', '.join(LOSSES)}, or "
        "package.module:function")  # fmt: skip
    add("--loss-arg", metavar="KEY=VALUE", action="append", default=[], dest="loss_arguments",
        help="of the loss, such as label_smoothing=0.1")  # fmt: skip
    add("--parameters", metavar="PATTERN", nargs="+", help="names to restrict matrices to, "
        "or trainable")  # fmt: skip
    add("--epochs", metavar="E", type=int, nargs="+", help="epochs to analyse")
    add("--steps", metavar="M", type=int, help="Lanczos steps of the full-data spectra")
    add("--batch-sizes", metavar="B", type=int, nargs="+", help="examples per batch")
    add("--device", help="auto, cpu, cuda or cuda:1")
    add("--quick", action="store_true", help="few examples and steps, to look first")
    add("--run", metavar="NAME", dest="name", help="of the run, and of its folder of results")
    add("--output", metavar="FILE", help="the configuration to write; RUN.yaml by default")
    add("--force", action="store_true", help="replace the file if it is there")


def _pair(flag: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--{flag} must be KEY=VALUE, got {text!r}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"--{flag} {key} must be a value as in YAML, got {value!r}") from None
