"""What is analysed: data, a network, and how it was trained."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from truehessian.data import catalogue
from truehessian.data.catalogue import DatasetInfo, Sizes
from truehessian.data.sources import SOURCES
from truehessian.networks import NETWORKS
from truehessian.networks.libraries import LIBRARIES
from truehessian.networks.libraries.library import absence
from truehessian.networks.places import PLACES
from truehessian.networks.places.files import holds_epoch
from truehessian.networks.places.place import Place
from truehessian.pipeline.config import known
from truehessian.pipeline.config.beside import Beside
from truehessian.pipeline.config.fields import (
    Count,
    Device,
    Epochs,
    Momentum,
    Natural,
    NotNegative,
    Number,
    Positive,
    Section,
    Several,
    Share,
    num_gpus,
    unknown,
)
from truehessian.pipeline.config.sentences import one_of


def _is_known(name: str) -> str:
    if name not in SOURCES and ":" not in name:
        raise PydanticCustomError("unknown_name", "{sentence}", {"sentence": one_of(SOURCES, name)})
    return name


class Dataset(Section):
    """Examples and how they are split."""

    name: Annotated[str, AfterValidator(_is_known)] = Field(
        description="Of a data set, or the import path of a function or source of one's own.",
        json_schema_extra={"examples": list(SOURCES)},
    )
    root: str = Field(default="data", description="Folder that holds downloaded data sets.")
    download: bool = Field(default=True, description="Whether to fetch what is missing there.")
    train_examples: Several | None = Field(
        default=None, description="Size of a random subset of the training split; all if null."
    )
    test_examples: Several | None = Field(
        default=None, description="Size of a random subset of the test split; all if null."
    )
    mean: list[Number] | None = Field(
        default=None,
        min_length=1,
        description="Of the normalisation, per channel, where 255 is 1; the data set's if null.",
    )
    std: list[Positive] | None = Field(
        default=None, min_length=1, description="Standard deviation that goes with `mean`."
    )
    test_fraction: Share = Field(
        default=0.2, description="Share of the test split, of a data set that comes in one piece."
    )
    seed: Natural = Field(default=0, description="Of the split and the subsets.")
    arguments: dict[str, Any] = Field(
        default={}, description="Of the source, where it takes any, such as a path."
    )

    augmentation: str | None = Field(
        default=None,
        description="Import path of a function (inputs of an example, generator) -> inputs, in "
        "place of crops and flips.",
    )

    @model_validator(mode="after")
    def _take_what_is_known(self, given: ValidationInfo) -> Self:
        """Ask no source that has been asked when the run began; see `checks.check`."""
        known = (given.context or {}).get(self.question)
        if known is not None:
            vars(self)["info"] = DatasetInfo.from_plain(known)
        return self

    @property
    def question(self) -> str:
        """What a source is asked for `info`: its name and arguments."""
        return json.dumps([self.name, self.arguments], sort_keys=True, default=str)

    @cached_property  # a source may have to look at many files, or to make the data
    def info(self) -> DatasetInfo:
        """What is known of the data set before it is loaded."""
        return catalogue.info(self.name, self.arguments)

    @property
    def reading(self) -> dict[str, Any]:
        """Keyword arguments of `catalogue.fetch`: the data are those before any augmentation."""
        return self.model_dump(exclude={"augmentation"})

    @property
    def sizes(self) -> Sizes:
        """Numbers of examples, found without the data.

        Raises
        ------
        ValueError
            More are asked for than there are, of either split.
        """
        return catalogue.sizes(**self.model_dump(), about=self.info)

    @property
    def num_train(self) -> int:
        """Number of training examples; raises as `sizes`."""
        return self.sizes.train

    @property
    def num_test(self) -> int:
        """Number of test examples; raises as `sizes`."""
        return self.sizes.test

    def problems(self, run: Beside) -> Iterator[str]:
        """Find examples that there are not, and what does not suit them."""
        try:
            _ = self.sizes
            catalogue.normalised(self.info, self.mean, self.std)
            if self.augmentation is not None:
                known.check_augmentation(self.augmentation)
        except (ValueError, OSError) as error:
            yield f"dataset: {error}"


class Model(Section):
    """A network by name with its arguments, `torchvision:resnet18`, or `package.module:factory`."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(
        description="Of the network, of one of a library (torchvision:resnet18, timm:NAME, "
        "transformers:CLASS), or the import path of one's own factory."
    )

    def problems(self, run: Beside) -> Iterator[str]:
        """Find a name that is not known, a library that is lacking, and what else decides."""
        yield from unknown(NETWORKS, "model", self.name)
        library, colon, name = self.name.partition(":")
        lacking = absence(library, name) if colon and library in LIBRARIES else None
        if lacking is not None:
            yield f"model: {lacking}"
        for key, source in (
            ("num_classes", "the data set decides it"),
            ("input_shape", "the data set decides it"),
            ("seed", "that of the initialisation is training.seed"),
        ):
            if key in (self.model_extra or {}):
                yield f"model.{key} cannot be set, because {source}; leave it out"


class Checkpoints(Section):
    """Weights of one's own that are no files on this machine."""

    place: str = Field(description="One of the catalogue, or the import path of one's own.")
    where: str = Field(description="What the place is told, with {epoch} where there are several.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find a place that is not known, and what it cannot take."""
        yield from without_epochs("checkpoints.where", self.where, run.epochs)
        yield from unknown(PLACES, "checkpoints.place", self.place)
        try:
            place: Place = PLACES.load(self.place)
        except ValueError as error:
            yield f"checkpoints.place: {error}"
        else:
            yield from place.problems(self.where)


def without_epochs(key: str, where: str, epochs: Sequence[int]) -> Iterator[str]:
    """Find one file of weights for several epochs."""
    if len(epochs) > 1 and not holds_epoch(where):
        yield (
            f"{key} must contain {{epoch}}, because epochs names {len(epochs)} of them, got "
            f"{where!r}; give one epoch for a single file of weights"
        )


class Training(Section):
    """SGD with momentum; constant rate for half of the epochs, then linear decay."""

    epochs: Count = Field(description="Passes over the training split.")
    batch_size: Count = Field(default=128, description="Examples per step.")
    learning_rate: Positive = Field(
        default=0.1, description="Constant for half of the epochs, then linear to a hundredth."
    )
    momentum: Momentum = Field(default=0.9, description="Of stochastic gradient descent.")
    weight_decay: NotNegative = Field(
        default=0.0005,
        description="Part of matrices only where `weight_decay` of the run says include.",
    )
    augment: bool = Field(
        default=True, description="Random crops, and flips where the data set suits them."
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        default="float32",
        description="Of the forward and backward passes; weights are always in float32.",
    )
    channels_last: bool = Field(
        default=False, description="Memory format that suits convolutions in tf32 and bf16."
    )
    compile: bool = Field(default=False, description="Whether to use torch.compile.")
    checkpoint_epochs: Epochs | None = Field(
        default=None, description="Epochs to keep; those to analyse if null."
    )
    seed: Natural = Field(
        default=0, description="Of initialisation, order of the examples and augmentation."
    )
    device: Device = Field(default="auto", description="auto, cpu, cuda or cuda:1.")

    @property
    def num_gpus(self) -> int:
        """GPUs that training takes."""
        return num_gpus(self.device)

    def problems(self, run: Beside) -> Iterator[str]:
        """Find epochs to keep or to analyse that training does not come to or does not keep."""
        for key, epochs in (
            ("training.checkpoint_epochs", run.checkpoint_epochs),
            ("epochs", run.epochs),
        ):
            for epoch in epochs:
                if epoch > self.epochs:
                    yield f"{key} contains {epoch}, but training ends after epoch {self.epochs}"
        for epoch in run.epochs:
            if epoch not in run.checkpoint_epochs:
                yield (
                    f"epochs contains {epoch}, whose weights training does not keep; add it to "
                    "training.checkpoint_epochs"
                )
