"""Which spectra are measured: one class per section of a run."""

import collections
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from truehessian.pipeline.config.beside import Beside
from truehessian.pipeline.config.fields import (
    AtEpochs,
    Chosen,
    Count,
    Counts,
    Device,
    Names,
    Natural,
    NotNegative,
    Parts,
    Positive,
    Section,
    Several,
    num_gpus,
)
from truehessian.spectra.stacks import SUMMARIES


class Products(Section):
    """How products with curvature matrices are made, in all sections that make them."""

    chunk_size: Count = Field(default=128, description="Examples per forward pass.")
    precision: Literal["float32", "tf32", "float64"] = Field(
        default="float32", description="Of products; sums and recurrences are always float64."
    )
    batchnorm: Literal["eval", "train"] = Field(
        default="eval", description="eval: running statistics; train: those of each chunk."
    )
    memory_gb: NotNegative | None = Field(
        default=None, description="For graphs kept between products; a quarter of what is free."
    )
    basis_gb: NotNegative | None = Field(
        default=None, description="For Lanczos bases on the device; half of what is free if null."
    )
    device: Device = Field(default="auto", description="auto, cpu, cuda or cuda:1.")
    processes: Count = Field(
        default=1,
        description="Processes that share examples and batches, each on a GPU if there is one.",
    )
    tolerance: Positive | None = Field(
        default=None, description="Relative error of both ends at which Lanczos stops; or never."
    )

    @property
    def num_gpus(self) -> int:
        """GPUs that a stage with such products takes."""
        return num_gpus(self.device) * self.processes


class Spectrum(Products):
    """The full-data spectra, and the settings of products that the other sections share."""

    steps: Count = Field(default=100, description="Lanczos steps, that is, products per probe.")
    ggn_steps: Count = Field(
        default=30, description="The same for the generalised Gauss-Newton matrix."
    )
    probes: Count = Field(default=1, description="Random start vectors.")
    vectors: Count = Field(default=10, description="Ritz vectors to keep at each end.")
    seed: Natural = Field(default=0, description="Of the start vectors.")


class Batch(Section):
    """Mini-batch Hessians and the noise in them."""

    sizes: Counts = Field(default=[128], description="Examples per batch.")
    folds: Several = Field(
        default=5, description="Random batches of each size, each without replacement."
    )
    steps: Count = Field(default=100, description="Lanczos steps for each batch.")
    noise_directions: Count = Field(
        default=3, description="Random directions for the size of the noise of every fold."
    )
    noise_folds: Count = Field(
        default=1, description="How many of the folds have the spectrum of their noise measured."
    )
    noise_steps: Count = Field(default=30, description="Lanczos steps for each of them.")
    seed: Natural = Field(default=0, description="Of the batches.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find batches that are larger than the data, and noise of folds that there are not."""
        train = run.dataset.num_train
        for size in self.sizes:
            if size > train:
                yield (
                    f"batch.sizes contains {size}, but the data have only {train} training "
                    "examples; a batch cannot be larger"
                )
        if self.noise_folds > self.folds:
            yield (
                f"batch.noise_folds is {self.noise_folds}, but there are only {self.folds} folds "
                "whose noise can be measured"
            )

    def sets_of_examples(self, train: int) -> Iterator[tuple[str, int]]:
        """Go through batches."""
        for size in self.sizes:
            yield "batch.sizes has batches of", size


class OperatorSpectrum(Section):
    """A further curvature matrix of the training data, with a spectrum of its own."""

    operator: str = Field(
        description="One of the catalogue, or the import path `package.module:class` of one's own."
    )
    parameters: Chosen | None = Field(
        default=None,
        description="Patterns of names to which it is restricted; those of the run if null.",
    )
    steps: Count = Field(default=30, description="Lanczos steps, that is, products per probe.")
    probes: Count = Field(default=1, description="Random start vectors.")
    seed: Natural = Field(default=0, description="Of the start vectors.")


class Factor(Section):
    """One set of augmented images."""

    factor: Count = Field(description="Images made from each original.")
    steps: Count = Field(description="Lanczos steps.")


class Augmentation(Section):
    """Fixed sets of augmented images."""

    factors: list[Factor] = Field(
        default=[{"factor": 10, "steps": 100}],
        validate_default=True,
        min_length=1,
        description="One item for each set.",
    )
    seed: Natural = Field(default=0, description="Of crops and flips, a draw per image and copy.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find factors that would make the same file, and what cannot be cropped."""
        info = run.dataset.info
        if run.dataset.augmentation is None and not info.can_be_cropped:
            kind = "have neither padding nor flip" if info.are_images else "are none"
            yield (
                f"augmentation crops and mirrors images, and these data {kind}; set augmentation: "
                "null, or name a function of your own as dataset.augmentation"
            )
        counts = collections.Counter(item.factor for item in self.factors)
        for factor, count in counts.items():
            if count > 1:
                yield (
                    f"augmentation.factors has factor {factor} twice, but each factor makes one "
                    "spectrum"
                )

    def step_counts(self) -> Iterator[tuple[str, int]]:
        """Go through the steps of each set."""
        for number, item in enumerate(self.factors):
            yield f"factors.{number}.steps", item.steps

    def sets_of_examples(self, train: int) -> Iterator[tuple[str, int]]:
        """Go through all images of each set."""
        for item in self.factors:
            yield f"factor {item.factor} of augmentation.factors makes", item.factor * train


class Subsamples(Section):
    """Hessians of disjoint random parts of the training data."""

    parts: Parts = Field(default=[2, 4, 8], description="Into how many parts to cut the data.")
    steps: Count = Field(default=100, description="Lanczos steps for each part.")
    seed: Natural = Field(default=0, description="Of the cuts.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find more parts than examples."""
        yield from too_many_parts("subsamples", self.parts, run.dataset.num_train)

    def sets_of_examples(self, train: int) -> Iterator[tuple[str, int]]:
        """Go through parts."""
        for parts in self.parts:
            yield f"{parts} of subsamples.parts makes parts of", train // parts


class BatchNorm(AtEpochs):
    """Full Hessians by batch statistics, beside those by running statistics."""

    chunk_sizes: Parts = Field(
        default=[128],
        description="Examples that are normalised together, a part of the matrix.",
    )

    def problems(self, run: Beside) -> Iterator[str]:
        """Find chunks that the data cannot be cut into, and nothing to compare with."""
        train = run.dataset.num_train
        yield from self.unknown_epochs("batchnorm", run)
        if run.spectrum.batchnorm == "train":
            yield (
                "batchnorm needs spectrum.batchnorm: eval, with whose spectra it compares; set "
                "batchnorm: null to go without it"
            )
        for size in self.chunk_sizes:
            contains = f"batchnorm.chunk_sizes contains {size}"
            if size > train:
                yield f"{contains}, but the data have only {train} training examples"
            elif train % size == 1:
                yield (
                    f"{contains}, which leaves a single one of {train} training examples over, of "
                    "which there are no statistics; take another size"
                )


class OfGroups(AtEpochs):
    """How the spectra of groups of parameters are measured."""

    operator: Literal["hessian", "ggn"] = Field(
        default="hessian", description="The matrix whose diagonal blocks they are."
    )
    steps: Several = Field(
        default=30, description="Lanczos steps for each; as many as it has parameters at most."
    )
    probes: Count = Field(default=1, description="Random start vectors for each.")
    seed: Natural = Field(default=0, description="Of the start vectors.")


class Groups(OfGroups):
    """Spectra of the diagonal blocks by groups of parameters, such as those of layers."""

    parameters: dict[Annotated[str, Field(min_length=1)], Names] | Literal["layers"] = Field(
        default="layers",
        description="Patterns of names by the group's name; layers: a group of each module.",
    )

    def plain(self) -> dict[str, Any]:
        """As of every section; the run has parameters of its own, and these are groups of them."""
        values = super().plain()
        return {"groups": values.pop("parameters"), **values}

    def problems(self, run: Beside) -> Iterator[str]:
        """Find epochs that there are not, and names that rows of the table have."""
        yield from self.unknown_epochs("groups", run)
        named = [] if self.parameters == "layers" else list(self.parameters)
        for name in SUMMARIES:
            if name in named:
                yield (
                    f"groups.parameters.{name} has the name that the row on all groups has in the "
                    "table; take another one"
                )
        if not self.parameters:
            yield "groups.parameters has no group; name one, or write layers"


def too_many_parts(name: str, numbers: list[int], train: int) -> Iterator[str]:
    """Find numbers of parts, of the section `name`, that exceed the training examples."""
    for parts in numbers:
        if parts > train:
            yield (
                f"{name}.parts contains {parts}, but there are only {train} training examples to "
                "share among them"
            )
