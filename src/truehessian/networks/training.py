"""Training by stochastic gradient descent, resumable to the same bits."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import devices, streams
from truehessian.data import batches as shuffling, trees
from truehessian.data.dataset import Dataset
from truehessian.data.own_augmentation import Augment
from truehessian.data.trees import Tree
from truehessian.networks import resume
from truehessian.networks.evaluation import Metrics, Total, columns, evaluate
from truehessian.networks.forward import Forward
from truehessian.networks.losses.base import Loss
from truehessian.networks.losses.objective import Objective
from truehessian.networks.schedule import learning_rate_at

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    epochs
        Passes over the training set; see `learning_rate_at` for the schedule.
    batch_size
        Examples per step. The last batch of an epoch is short; one of a single example, which has
        no batch statistics, joins the batch before it.
    learning_rate, momentum, weight_decay
        Of SGD; the weight decay applies to all parameters and is in no reported loss.
    augment
        Whether to crop and mirror images at random, as `dataset.padding` and `dataset.flip` say,
        or to apply `augmentation`.
    augmentation
        In place of crops and flips, for inputs of any kind; see `data.own_augmentation`.
    seed
        Decides everything random but the initialisation.
    precision, channels_last, compiled
        How the forward passes are computed, see `forward.Forward`; compiled are batches of
        `batch_size`. Weights and momentum are kept in float32. Each choice rounds differently, and
        each resumes to its own bits.
    loss
        (outputs, targets) -> scalar, the mean over a batch; see `losses.objective.Objective`.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    augment: bool
    seed: int
    precision: str = "float32"
    channels_last: bool = False
    compiled: bool = False
    loss: Loss = F.cross_entropy
    augmentation: Augment | None = None


def train(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    checkpoint_epochs: Collection[int],
    on_checkpoint: Callable[[int, nn.Module], None],
    state: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    progress: logging.Logger = logger,
) -> list[dict[str, Any]]:
    """Train in place by SGD with momentum.

    Everything random (order, augmentation, dropout) depends on `recipe.seed` and the number of the
    epoch only, so that a run which was killed and called again with the same arguments ends with
    the same bits as an undisturbed one. PyTorch's global generators are left as they were.

    Parameters
    ----------
    model
        Initialised network; moved to `device` and left in evaluation mode.
    dataset
        Moved to `device` as uint8 and augmented there.
    recipe
        How.
    checkpoint_epochs
        From 0, the initialisation, to `recipe.epochs`.
    on_checkpoint
        Called with (epoch, model) when such an epoch is done, before the state is written: a killed
        run may call it twice for one epoch, and never again for the epochs before. The checkpoints
        thus belong beside the state: whoever loses them has to remove the state as well.
    state
        File to continue from and to rewrite after each epoch, for the caller to remove; it must
        belong to the same arguments. One that cannot be used is reported, and training starts
        afresh; where none can be written, that is reported once, and training goes on without.
    device
        Where to train.
    progress
        Gets one line per epoch.

    Returns
    -------
    list of dict
        One row per epoch: epoch, learning_rate, train_loss, train_accuracy, test_loss,
        test_accuracy, seconds. In the place of the accuracy is what the loss measures, such as
        r_squared, or nothing. Row 0 is the initialisation, in evaluation mode and with learning
        rate 0; the later training values are means over the epoch's own batches, taken before each
        step. A batch in which no example counts takes no step.

    Raises
    ------
    ValueError
        A checkpoint epoch is out of range, `precision` is unknown, the network or the device
        cannot do what is asked for, or no example counts in the loss.
    RuntimeError
        The network cannot be compiled.
    FloatingPointError
        A loss is not finite.
    """
    _check_epochs(checkpoint_epochs, recipe.epochs)
    model.to(device).eval()
    dataset = dataset.to(device)
    forward = Forward(
        model,
        device,
        precision=recipe.precision,
        channels_last=recipe.channels_last,
        compiled_size=recipe.batch_size if recipe.compiled else None,
    )
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    rows = resume.load(state, model, optimiser)
    for epoch in range(len(rows), recipe.epochs + 1):
        rows.append(_one_epoch(forward, optimiser, dataset, recipe, epoch, progress))
        if epoch in checkpoint_epochs:
            on_checkpoint(epoch, model)
        if state is not None:
            state = resume.save(state, model, optimiser, rows)
    return rows


def step(
    forward: Forward,
    optimiser: torch.optim.Optimizer,
    inputs: Tree,
    targets: Tree,
    loss: Loss = F.cross_entropy,
) -> tuple[Tensor, Any]:
    """Take a step down the gradient of the mean loss of one batch.

    Returns
    -------
    tuple of Tensor
        The loss and the outputs before the step, float32, without their graph. Nothing waits for
        the device.
    """
    outputs = forward(inputs)
    value = loss(outputs, targets)
    optimiser.zero_grad()
    value.backward()
    optimiser.step()
    return value.detach(), trees.mapped(outputs, Tensor.detach)


def _check_epochs(checkpoint_epochs: Collection[int], epochs: int) -> None:
    beyond = sorted(epoch for epoch in checkpoint_epochs if not 0 <= epoch <= epochs)
    if beyond:
        raise ValueError(
            f"checkpoint_epochs must lie between 0 and the {epochs} epochs of training, "
            f"got {beyond[0]}"
        )


def _one_epoch(
    forward: Forward,
    optimiser: torch.optim.Optimizer,
    dataset: Dataset,
    recipe: Recipe,
    epoch: int,
    progress: logging.Logger,
) -> dict[str, Any]:
    """Pass over the training set, for epoch 0 without a step, and give the row of the epoch."""
    rate = learning_rate_at(epoch - 1, recipe.epochs, recipe.learning_rate) if epoch else 0.0
    crops = shuffling.Augmentation(dataset.padding, dataset.flip)
    augmentation = recipe.augmentation or (crops if dataset.train.are_images else None)
    start = time.perf_counter()
    with (
        devices.deterministic_algorithms(tf32=recipe.precision == "tf32"),
        _seeded(recipe.seed, epoch, forward.device) as generator,
    ):
        if epoch == 0:
            on_train = evaluate(forward.model, dataset.train, forward, loss=recipe.loss)
        else:
            optimiser.param_groups[0]["lr"] = rate
            batches = shuffling.batches(
                dataset.train,
                recipe.batch_size,
                generator,
                augmentation if recipe.augment else None,
                forward.memory_format,
            )
            objective = Objective(recipe.loss, dataset.train.targets)
            on_train = _train_epoch(forward, optimiser, batches, objective)
        on_test = evaluate(forward.model, dataset.test, forward, loss=recipe.loss)
    seconds = time.perf_counter() - start
    _check_finite(epoch, rate, on_train, on_test)
    progress.info(
        "epoch %d of %d: learning rate %.4g, training loss %s, test loss %s, %.1f s",
        *(epoch, recipe.epochs, rate, on_train.describe(), on_test.describe(), seconds),
    )
    found = columns(on_train, on_test)
    return {"epoch": epoch, "learning_rate": rate, **found, "seconds": seconds}


def _train_epoch(
    forward: Forward,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[tuple[Tree, Tree]],
    objective: Objective,
) -> Metrics:
    forward.model.train()
    total = Total(objective)
    for inputs, targets in batches:
        if objective.some_count_nothing and not bool(objective.count(targets) > 0):
            continue
        value, outputs = step(forward, optimiser, inputs, targets, objective)
        total.add(value, outputs, targets)
    return total.metrics()


def _check_finite(epoch: int, rate: float, on_train: Metrics, on_test: Metrics) -> None:
    if not (math.isfinite(on_train.loss) and math.isfinite(on_test.loss)):
        raise FloatingPointError(
            f"training diverged in epoch {epoch} at learning rate {rate:g} (training loss "
            f"{on_train.loss}, test loss {on_test.loss}); lower the learning rate"
        )


@contextlib.contextmanager
def _seeded(seed: int, epoch: int, device: str | torch.device) -> Iterator[torch.Generator]:
    """Seed by epoch, inside the block only.

    Gives a generator of the CPU for order and augmentation; dropout draws from the global ones.
    """
    ours, dropout = (
        streams.torch_seed(seed, purpose, epoch) for purpose in ("order of training", "dropout")
    )
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(dropout)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(dropout)
        yield torch.Generator().manual_seed(ours)
