"""Loss and measure of a network on its data, and whether it has learned them at all."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import devices
from truehessian.data import trees
from truehessian.data.dataset import Dataset
from truehessian.data.examples import Examples
from truehessian.data.trees import Tree
from truehessian.networks.losses.base import Loss, logits_of
from truehessian.networks.losses.measures import Measure
from truehessian.networks.losses.objective import Objective

logger = logging.getLogger(__name__)

_CHUNK = 512


class Metrics(NamedTuple):
    """Mean loss, and what the loss's task measures.

    Attributes
    ----------
    loss
        The mean over the examples, by their weights.
    measured
        Value by the name of the measure, such as accuracy; empty without one.
    chance
        Of the best prediction without inputs, by the same name; empty where it is not known.
    at_chance
        Whether the value is not significantly above it; None where it is not known.
    """

    loss: float
    measured: Mapping[str, float] = {}
    chance: Mapping[str, float] = {}
    at_chance: bool | None = None

    def describe(self) -> str:
        """Write loss and measure: `0.1234 (accuracy 0.987)`."""
        words = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in self.measured.items()]
        return f"{self.loss:.4f}" + "".join(f" ({each})" for each in words)


class Total:
    """Running sums over batches of some examples, on their device: no step waits for the host.

    Parameters
    ----------
    objective
        The loss with the targets of all these examples.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        device = trees.tensors_of(objective.targets)[0].device
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self.measure: Measure | None = None

    @torch.no_grad()
    def add(self, loss: Tensor, outputs: Any, targets: Tree) -> None:
        """Count a batch with the mean loss of its examples, NaN where nothing in it counts."""
        weight = self.objective.count(targets)
        self.measure = self.measure or self.objective.measure(outputs, targets)
        sums: list[Tensor | int] = [torch.where(weight > 0, loss.double() * weight, 0.0), weight]
        if self.measure is not None:
            sums += self.measure.sums(logits_of(outputs), targets)
        parts = [torch.as_tensor(each).to(self.sums) for each in sums]
        self.sums[: len(sums)] += torch.stack(parts)

    def metrics(self) -> Metrics:
        """Divide by the weights, and by the number of predictions."""
        loss, weight, total, count = self.sums.tolist()
        if self.measure is None:
            return Metrics(loss / weight)
        name, targets = self.measure.name, self.objective.targets
        value, chance = self.measure.value(total, count, targets), self.measure.chance(targets)
        if chance is None:
            return Metrics(loss / weight, {name: value})
        stuck = self.measure.is_at_chance(value, chance, count)
        return Metrics(loss / weight, {name: value}, {name: chance}, stuck)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Examples,
    forward: Callable[[Tree], Any] | None = None,
    *,
    chunk_size: int = _CHUNK,
    loss: Loss = F.cross_entropy,
) -> Metrics:
    """Mean loss and measure over all examples; leaves the model in evaluation mode.

    `forward` gives the model's outputs; by default the model itself does. `chunk_size` examples are
    taken at once. For `loss` see `losses.objective.Objective`.

    Raises
    ------
    ValueError
        No example counts in the loss.
    """
    model.eval()
    objective = Objective(loss, examples.targets)
    total = Total(objective)
    for inputs, targets in examples.chunks(chunk_size):
        outputs = forward(inputs) if forward else trees.passed(model, inputs)
        total.add(objective(outputs, targets), outputs, targets)
    return total.metrics()


def of_checkpoint(
    model: nn.Module,
    dataset: Dataset,
    *,
    chunk_size: int,
    imported: bool,
    loss: Loss = F.cross_entropy,
) -> pd.DataFrame:
    """Evaluate a network on both splits, by running statistics and in float32.

    Weights of other data, or of images that were normalised otherwise, have curvature as well, and
    nothing in a spectrum tells. A warning is logged if imported weights predict the training
    targets no better than by chance.

    Parameters
    ----------
    model
        In evaluation mode, on the device of the data.
    dataset
        Both splits.
    chunk_size
        Examples per forward pass.
    imported
        Whether the weights were trained elsewhere.
    loss
        (outputs, targets) -> scalar; see `losses.objective.Objective`.

    Returns
    -------
    DataFrame
        One row: train_loss and test_loss; with a measure, such as accuracy, train_accuracy and
        test_accuracy beside them; and where its value is known of what is best to predict without
        inputs, always the most frequent class, that on the training data as chance_accuracy, and
        as at_chance whether the network's is not significantly above it.
    """
    with devices.deterministic_algorithms(tf32=False):
        train = evaluate(model, dataset.train, chunk_size=chunk_size, loss=loss)
        test = evaluate(model, dataset.test, chunk_size=chunk_size, loss=loss)
    logger.info("training loss %s, test loss %s", train.describe(), test.describe())
    if imported and train.at_chance:
        ((name, value),) = train.measured.items()
        logger.warning(
            "the weights have a training %s of %.3f, not significantly above that of guessing "
            "without the inputs (%.3f): unless they are initial ones, they do not belong to this "
            "data set, or to this normalisation (dataset.mean and dataset.std)",
            name.replace("_", " "),
            value,
            train.chance[name],
        )
    row: dict[str, Any] = columns(train, test)
    row |= {f"chance_{name}": value for name, value in train.chance.items()}
    if train.at_chance is not None:
        row["at_chance"] = train.at_chance
    return pd.DataFrame([row])


def columns(train: Metrics, test: Metrics) -> dict[str, float]:
    """Name what is known of both splits as the columns of tables do."""
    return {
        f"{split}_{name}": value
        for split, metrics in (("train", train), ("test", test))
        for name, value in {"loss": metrics.loss, **metrics.measured}.items()
    }
