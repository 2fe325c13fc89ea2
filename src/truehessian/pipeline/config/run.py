"""A run, typed: values with their defaults, and what they imply."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from truehessian.networks.places import PLACES
from truehessian.networks.places.files import FILES
from truehessian.networks.places.place import Place
from truehessian.operators import OPERATORS
from truehessian.pipeline.config import loss as losses
from truehessian.pipeline.config.fields import (
    Chosen,
    Epochs,
    NotNegative,
    Section,
    Strict,
    unknown,
)
from truehessian.pipeline.config.inference import (
    ExampleParts,
    SelfTest,
    Subspace,
    Theory,
    Variance,
)
from truehessian.pipeline.config.problem import (
    Checkpoints,
    Dataset,
    Model,
    Training,
    without_epochs,
)
from truehessian.pipeline.config.spectra import (
    Augmentation,
    Batch,
    BatchNorm,
    Groups,
    OperatorSpectrum,
    Products,
    Spectrum,
    Subsamples,
)
from truehessian.pipeline.config.stability import Influence, Sharpness

# Sections whose settings go to a script together with those of products.
_WITH_PRODUCTS = (
    *("batch", "augmentation", "subsamples", "groups", "self_test", "variance"),
    *("subspace", "parts", "sharpness", "influence"),
)
# Sections that take from training what they are not told.
_OF_TRAINING = ("sharpness", "influence")
_WITH_LOSS = (*_WITH_PRODUCTS, "spectrum", "training")
_WITH_AUGMENTATION = ("training", "augmentation")
# Names of spectra that every run has, and by which tables know their matrices.
_TAKEN = ("full", "test", "ggn", "hessian", "noise", "groups")


class Run(Strict):
    """One network on one data set, and what is measured of it."""

    dataset: Dataset
    model: Model
    training: Training | None = None
    checkpoints: str | Checkpoints | None = Field(
        default=None,
        description="Instead of `training`, where one's own weights are: weights/{epoch}.pt, or "
        "a single file, which is the one epoch of `epochs`.",
    )
    loss: losses.NamedLoss = "cross_entropy"
    parameters: Chosen | None = Field(
        default=None,
        description="Patterns of names to which all matrices are restricted, or trainable.",
    )
    weight_decay: Literal["exclude", "include"] | NotNegative = Field(
        default="exclude",
        description="Whether Hessian and Gauss-Newton matrices are those of the loss with the "
        "penalty on the weights: exclude, include (that of `training`), or its number.",
    )
    epochs: Epochs = Field(description="Epochs to analyse.")
    spectrum: Spectrum = Field(default={}, validate_default=True)
    operators: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], OperatorSpectrum] = Field(
        default={}, description="Further curvature matrices, by the names of their spectra."
    )
    batch: Batch | None = Field(default={}, validate_default=True)
    augmentation: Augmentation | None = Field(default={}, validate_default=True)
    subsamples: Subsamples | None = None
    groups: Groups | None = None
    self_test: SelfTest | None = None
    batchnorm: BatchNorm | None = None
    variance: Variance | None = Field(default={}, validate_default=True)
    subspace: Subspace | None = None
    parts: ExampleParts | None = None
    theory: Theory = Field(default={}, validate_default=True)
    sharpness: Sharpness | None = None
    influence: Influence | None = None

    @property
    def sections(self) -> dict[str, Section]:
        """The sections that the run has, by their names."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, Section)}

    @property
    def checkpoint_epochs(self) -> list[int]:
        """Epochs whose weights training keeps, ascending."""
        kept = self.training.checkpoint_epochs if self.training else None
        return sorted(self.epochs if kept is None else kept)

    @property
    def network(self) -> dict[str, Any]:
        """Keyword arguments of `networks.registry.build`: the model and its data's shape."""
        info = self.dataset.info
        return {
            **self.model.model_dump(),
            "num_classes": info.num_classes,
            **info.network_inputs,
        }

    @property
    def decay(self) -> float:
        """What matrices have of the identity: the weight decay, or nothing."""
        if self.weight_decay == "include":
            assert self.training is not None, "refused before"
            return self.training.weight_decay
        return 0.0 if self.weight_decay == "exclude" else self.weight_decay

    def epochs_of(self, name: str) -> list[int]:
        """Epochs of a section that may have some of its own, ascending; none if it is null."""
        section = getattr(self, name)
        return [] if section is None else sorted(section.epochs or self.epochs)

    def settings(self, name: str) -> dict[str, Any]:
        """Give a section to a script, with the settings of products where it makes them.

        Parameters
        ----------
        name
            Of a section that the run has.

        Returns
        -------
        dict
            Plain values, sorted by name: Snakemake compares them and a stage's key holds them.
        """
        values = getattr(self, name).plain()
        values.pop("checkpoint_epochs", None)  # a parameter of its own, null filled in
        if name == "dataset":
            values.pop("augmentation")  # the data are those before it
        elif name in _WITH_AUGMENTATION and self.dataset.augmentation is not None:
            values["augmentation"] = self.dataset.augmentation
        if name in _OF_TRAINING:
            values |= getattr(self, name).of_training(self)
        if name in _WITH_PRODUCTS:
            values = {**self._products, **values}
        if name in _WITH_LOSS:
            values["loss"] = losses.settings_of(self.loss)
            if name != "training":
                values |= {"parameters": self.parameters, "weight_decay": self.decay}
        return dict(sorted(values.items()))

    def operator_settings(self, name: str) -> dict[str, Any]:
        """Give the settings of a further matrix to its script, as `settings`."""
        values = {
            **self._products,
            **self.operators[name].model_dump(),
            "loss": losses.settings_of(self.loss),
        }
        values |= {"name": name, "parameters": values["parameters"] or self.parameters}
        values["weight_decay"] = self.decay
        return dict(sorted(values.items()))

    @property
    def place(self) -> tuple[Place, str]:
        """Where weights of one's own come from, and what the place is told."""
        if isinstance(self.checkpoints, Checkpoints):
            return PLACES.load(self.checkpoints.place), self.checkpoints.where
        assert self.checkpoints is not None, "asked of a run that trains"
        return FILES, self.checkpoints

    @property
    def _products(self) -> dict[str, Any]:
        return self.spectrum.model_dump(include=set(Products.model_fields))

    @property
    def sharpness_sizes(self) -> list[int]:
        """Sizes of the batches whose curvature along gradients is measured, ascending."""
        return [] if self.sharpness is None else self.sharpness.sizes_in(self)

    def selections(self) -> Iterator[tuple[str, Chosen | None]]:
        """Go through all patterns of parameters, with the path of the section before them.

        Yields
        ------
        path, patterns
            "" for the run's own, which hold wherever there are no others; None for all parameters.
        """
        yield "", self.parameters
        for name, operator in self.operators.items():
            yield f"operators.{name}.", operator.parameters or self.parameters

    def suited(self) -> Self:
        """Leave out a section that is there by default and means nothing for the data.

        Raises
        ------
        ValueError, OSError
            The data are not there.
        """
        can_be = self.dataset.augmentation is not None or self.dataset.info.can_be_cropped
        if can_be or "augmentation" in self.model_fields_set:
            return self
        return self.model_copy(update={"augmentation": None})

    def first_problem(self) -> str | None:
        """Say what is impossible together, in a sentence that goes after the run's dotted path."""
        return next(self._problems(), None)

    def single_examples(self) -> Iterator[str]:
        """Find chunks of a single example, of which batch normalisation has no statistics.

        The run has to be possible in itself, with `spectrum.batchnorm: train` and a network that
        has such layers.

        Yields
        ------
        str
            Sentences that go after the run's dotted path.
        """
        size = self.spectrum.chunk_size
        for source, count in self._sets_of_examples():
            if count == 1:
                yield (
                    f"{source} a single example, of which batch normalisation by batch statistics "
                    "(spectrum.batchnorm: train) has none; take more examples"
                )
            elif size == 1 or count % size == 1:
                yield (
                    f"spectrum.chunk_size is {size}, which leaves a chunk of a single example, "
                    f"because {source} {count} examples, and batch normalisation by batch "
                    "statistics (spectrum.batchnorm: train) has none of it; take another size"
                )

    def step_counts(self) -> Iterator[tuple[str, int]]:
        """Go through all numbers of Lanczos steps, with their dotted paths."""
        for name, section in self.sections.items():
            for key, steps in section.step_counts():
                yield f"{name}.{key}", steps
        for name, operator in self.operators.items():
            yield f"operators.{name}.steps", operator.steps

    def _problems(self) -> Iterator[str]:
        """Each may rely on what comes before: the data set is first of the sections."""
        if (self.training is None) == (self.checkpoints is None):
            yield (
                "training and checkpoints exclude each other and one of them is needed; give "
                "training to train, or checkpoints to start from weights of your own"
            )
        if isinstance(self.checkpoints, str):
            yield from FILES.problems(self.checkpoints)
            yield from without_epochs("checkpoints", self.checkpoints, self.epochs)
        if self.weight_decay == "include" and self.training is None:
            yield (
                "weight_decay is include, but beside checkpoints there is no "
                "training.weight_decay to take; give the number itself"
            )
        yield from losses.problems(self.loss)
        for section in self.sections.values():
            yield from section.problems(self)
        for name, operator in self.operators.items():
            if name in _TAKEN:
                yield f"operators.{name} has a name that another spectrum has; take another one"
            yield from unknown(OPERATORS, f"operators.{name}.operator", operator.operator)

    def _sets_of_examples(self) -> Iterator[tuple[str, int]]:
        """Everything that products cut into chunks; sections with running statistics have none."""
        yield "the training split has", self.dataset.num_train
        yield "the test split has", self.dataset.num_test
        for section in self.sections.values():
            yield from section.sets_of_examples(self.dataset.num_train)
