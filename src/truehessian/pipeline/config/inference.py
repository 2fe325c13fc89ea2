"""What is inferred from the spectra: one class per section of a run."""

import math
from collections.abc import Iterator, Sequence

from pydantic import Field

from truehessian.pipeline.config.beside import Beside
from truehessian.pipeline.config.fields import (
    AtEpochs,
    Count,
    Natural,
    Parts,
    Positive,
    Section,
    Several,
    Share,
)
from truehessian.pipeline.config.spectra import too_many_parts


class SelfTest(AtEpochs):
    """Estimators of the true Hessian, tried where the truth is known."""

    parts: Parts = Field(default=[2, 4, 8], description="Into how many parts to cut the data.")
    repetitions: Several = Field(default=20, description="Parts of each size, at least.")
    folds: Several = Field(default=4, description="Of the cross-validation within a part.")
    steps: Count = Field(default=100, description="Lanczos steps at most.")
    tolerance: Positive = Field(default=1.0e-3, description="Relative error at which they stop.")
    seed: Natural = Field(default=0, description="Of the cuts.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find parts that are too small, and a matrix that is no mean over examples."""
        train = run.dataset.num_train
        yield from too_many_parts("self_test", self.parts, train)
        yield from self.unknown_epochs("self_test", run)
        yield from needs_a_mean("self_test", run)
        smallest = train // max(self.parts)
        if smallest < 4 * self.folds:
            yield (
                f"self_test.folds is {self.folds}, but the smallest part has {smallest} examples, "
                "and each fold needs four"
            )


class Variance(Section):
    """Variance of the Hessian over examples along directions, and held-out curvature."""

    random_directions: Count = Field(default=3, description="Besides the Ritz vectors.")
    leak_vectors: Natural = Field(
        default=10, description="Where the noise turns the Ritz vectors to."
    )
    group_size: Count = Field(default=16, description="Examples whose products are taken together.")
    held_out_folds: Several = Field(
        default=2, description="Disjoint parts of the test split, for a bracket of the extremes."
    )
    held_out_steps: Count = Field(default=100, description="Lanczos steps for each of them.")
    seed: Natural = Field(default=0, description="Of the directions and the groups.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find groups and folds that the data or the batches do not divide into."""
        train, test = run.dataset.num_train, run.dataset.num_test
        yield from needs_a_mean("variance", run)
        for count, split in ((train, "training"), (test, "test")):
            if 2 * self.group_size > count:
                yield (
                    f"variance.group_size is {self.group_size}, but at least two groups must fit "
                    f"into {count} {split} examples"
                )
        yield from _undivided("variance", self.group_size, run.batch.sizes if run.batch else [])
        if self.held_out_folds > test:
            yield (
                f"variance.held_out_folds is {self.held_out_folds}, but there are only {test} test "
                "examples to share among them"
            )


class Subspace(Section):
    """The noise within as many directions as a share of it asks for."""

    share: Share = Field(
        default=0.9, description="Of the noise along the outermost Ritz vectors, to be held."
    )
    passes: Several = Field(default=80, description="Products with all the data at most.")
    ranks: Count = Field(
        default=5, description="Outermost Ritz vectors of each end that are meant."
    )
    group_size: Count = Field(default=16, description="Examples whose products are taken together.")
    seed: Natural = Field(default=0, description="Of the groups.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find groups that the data or the batches do not divide into, and too few passes."""
        yield from needs_a_mean("subspace", run)
        train = run.dataset.num_train
        if 2 * self.group_size > train:
            yield (
                f"subspace.group_size is {self.group_size}, but at least two groups must fit into "
                f"{train} training examples"
            )
        sizes = run.batch.sizes if run.batch else []
        yield from _undivided("subspace", self.group_size, sizes)
        if self.passes < 2 * self.ranks:
            yield (
                f"subspace.passes is {self.passes}, but {self.ranks} Ritz vectors of each end take "
                f"{2 * self.ranks}"
            )


class ExampleParts(AtEpochs):
    """Outer eigenpairs of the Hessians of single examples, from which batches are predicted."""

    examples: Several | None = Field(
        default=1000, description="How many random ones at most; null: all."
    )
    vectors: Count = Field(default=5, description="Ritz vectors of each end to look along.")
    steps: Several = Field(default=6, description="Lanczos steps on each example's own Hessian.")
    pairs: Count = Field(default=2, description="Ritz pairs of it to keep at each end.")
    dimension: Count = Field(
        default=1024, description="Coordinates that each one is kept in; more of them are exact."
    )
    seed: Natural = Field(default=0, description="Of the examples and the coordinates.")

    def problems(self, run: Beside) -> Iterator[str]:
        """Find more pairs than there are steps for, and a matrix that is no mean over examples."""
        yield from self.unknown_epochs("parts", run)
        yield from needs_a_mean("parts", run)
        if 2 * self.pairs > self.steps:
            yield (
                f"parts.pairs is {self.pairs} at each end, but of {self.steps} Lanczos steps there "
                f"are at most {self.steps // 2}; take more steps, or fewer pairs"
            )


class Theory(Section):
    """How predictions are drawn."""

    draws: Several = Field(default=400, description="Random batches from the measured groups.")
    resamples: Several = Field(default=40, description="Of the groups, for intervals.")
    ranks: Count = Field(default=5, description="Outliers of each end to predict.")
    seed: Natural = Field(default=0, description="Of the draws and resamples.")


def _undivided(name: str, group_size: int, sizes: Sequence[int]) -> Iterator[str]:
    for size in sizes:
        if size % group_size:
            yield (
                f"{name}.group_size is {group_size}, which does not divide {size} of batch.sizes, "
                "so that no batch of it can be drawn from the groups; set it to "
                f"{math.gcd(group_size, *sizes)}, which divides them all"
            )


def needs_a_mean(name: str, run: Beside) -> Iterator[str]:
    """Find a Hessian that is no mean over examples, for the section `name`."""
    if run.spectrum.batchnorm == "train":
        yield (
            f"{name} needs spectrum.batchnorm: eval, because with batch statistics (train) the "
            f"Hessian is no mean over examples; set {name}: null to go without it"
        )
