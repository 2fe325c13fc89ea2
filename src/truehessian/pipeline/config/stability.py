"""What is measured beside the spectra because others compare it: one class per section of a run."""

from collections.abc import Iterator

from pydantic import Field

from truehessian.networks.places.files import FILES
from truehessian.pipeline.config.beside import Beside
from truehessian.pipeline.config.fields import (
    AtEpochs,
    Count,
    Counts,
    Momentum,
    Natural,
    Positive,
    Several,
)
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
