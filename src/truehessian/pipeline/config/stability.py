"""What is measured beside the spectra because others compare it: one class per section of a run."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from truehessian.networks.places.files import FILES
from truehessian.pipeline.config.beside import Beside
from truehessian.pipeline.config.fields import (
    AtEpochs,
    Count,
    Counts,
    Momentum,
    Natural,
    NotNegative,
    Positive,
    Section,
    Several,
)
from truehessian.pipeline.config.inference import needs_a_mean
from truehessian.pipeline.config.problem import without_epochs


class Sharpness(AtEpochs):
    """Curvature along gradients, beside the limits of the learning rate."""

    sizes: Counts | None = Field(
        default=None,
        description="Examples per batch; that of `training` if null, or those of `batch` without.",
    )
    folds: Several = Field(
        default=20, description="Random batches of each size, each without replacement."
    )
    learning_rate: Positive | None = Field(
        default=None, description="Of the limits; that of `training` at the epoch if null."
    )
    momentum: Momentum | None = Field(
        default=None, description="Of the limits; that of `training` if null."
    )
    optimiser: str | None = Field(
        default=None,
        description="Where the state dict of Adam or AdamW lies, weights/{epoch}.pt, for the "
        "Hessian in its geometry.",
    )
    steps: Count = Field(
        default=30, description="Lanczos steps of the Hessian in the optimiser's geometry."
    )
    seed: Natural = Field(default=0, description="Of the batches.")

    def optimiser_at(self, epoch: int) -> str | None:
        """Name the file with the state of the optimiser, None without one."""
        return None if self.optimiser is None else self.optimiser.format(epoch=epoch)

    def sizes_in(self, run: Beside) -> list[int]:
        """Sizes of the batches in a run, ascending; no larger than the data."""
        own = [run.training.batch_size] if run.training else []
        sizes = self.sizes or own or (run.batch.sizes if run.batch else [128])
        return sorted({min(size, run.dataset.num_train) for size in sizes})

    def of_training(self, run: Beside) -> dict[str, Any]:
        """Take from training what is not told, as far as there is any."""
        rate, momentum, epochs = self.learning_rate, self.momentum, None
        if run.training is not None:
            if rate is None:
                rate, epochs = run.training.learning_rate, run.training.epochs
            momentum = run.training.momentum if momentum is None else momentum
        found = {"learning_rate": rate, "momentum": momentum, "training_epochs": epochs}
        return {"sizes": self.sizes_in(run), **found}

    def problems(self, run: Beside) -> Iterator[str]:
        """Find epochs that there are not, batches that are too large, and a wrong pattern."""
        yield from self.unknown_epochs("sharpness", run)
        train = run.dataset.num_train
        for size in self.sizes or []:
            if size > train:
                yield (
                    f"sharpness.sizes contains {size}, but the data have only {train} training "
                    "examples; a batch cannot be larger"
                )
        if self.optimiser is not None:
            for sentence in FILES.problems(self.optimiser):
                yield f"sharpness.optimiser: {sentence.removeprefix('checkpoints ')}"
            epochs = self.epochs or run.epochs
            yield from without_epochs("sharpness.optimiser", self.optimiser, epochs)

    def sets_of_examples(self, train: int) -> Iterator[tuple[str, int]]:
        """Go through batches."""
        for size in self.sizes or []:
            yield "sharpness.sizes has batches of", size


class Trained(Section):
    """The steps that led to weights, for those that were trained here."""

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    momentum: Momentum
    weight_decay: NotNegative


class Influence(AtEpochs):
    """Curvature at each example's outputs as they would be without it in training."""

    examples: Count | None = Field(
        default=None, description="How many are left out, drawn at random; all if null."
    )
    damping: NotNegative | None = Field(
        default=None,
        description="Of the Gauss-Newton matrix beside the penalty; by the steps of training that "
        "led to the epoch if null.",
    )
    penalty: NotNegative | None = Field(
        default=None, description="Weight decay of training, if null that of `training`."
    )
    accuracy: Positive = Field(
        default=1.0e-3, description="Relative residual of the equations, one for each example."
    )
    solver_steps: Count = Field(
        default=100, description="Of conjugate gradients at most: a product for each example."
    )
    steps: Count = Field(default=30, description="Lanczos steps.")
    seed: Natural = Field(default=0, description="Of the examples and the start vector.")

    def of_training(self, run: Beside) -> dict[str, Any]:
        """Take from training what is not told."""
        training = run.training
        if training is None:
            penalty = run.decay if self.penalty is None else self.penalty
            return {"penalty": penalty, "trained": None}
        penalty = training.weight_decay if self.penalty is None else self.penalty
        trained = {name: getattr(training, name) for name in Trained.model_fields}
        return {"penalty": penalty, "trained": trained if self.damping is None else None}

    def count(self, run: Beside) -> int:
        """Give the number of examples that are left out."""
        train = run.dataset.num_train
        return train if self.examples is None else min(self.examples, train)

    def problems(self, run: Beside) -> Iterator[str]:
        """Find epochs and examples that there are not, and steps that are not known."""
        yield from self.unknown_epochs("influence", run)
        yield from needs_a_mean("influence", run)
        train = run.dataset.num_train
        if self.examples is not None and self.examples > train:
            yield (
                f"influence.examples is {self.examples}, but the data have only {train} training "
                "examples; write null for all"
            )
        if run.training is None and self.damping is None:
            yield (
                "influence.damping is null, but the steps that led to checkpoints of one's own are "
                "not known; give (1 - momentum) / (sum of their learning rates)"
            )
        if self.damping == 0 and self.of_training(run)["penalty"] == 0:
            yield (
                "influence.damping and influence.penalty are both zero, and the Gauss-Newton "
                "matrix alone has no inverse; give one of them"
            )
