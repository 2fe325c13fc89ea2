"""Training by stochastic gradient descent, resumable to the same bits."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from truehessian import tensorfile
from truehessian.augmentation import random_augment
from truehessian.datasets import Dataset, Examples

logger = logging.getLogger(__name__)

_EVALUATION_CHUNK = 512
_FINAL_RATE = 0.01  # of the initial learning rate
_MODEL, _MOMENTUM = "model.", "momentum."  # prefixes of the tensors in a state file


class Metrics(NamedTuple):
    """Mean cross-entropy and fraction of correct predictions."""

    loss: float
    accuracy: float


def learning_rate_at(epoch: int, epochs: int, learning_rate: float) -> float:
    """Learning rate after `epoch` of `epochs` epochs.

    Constant for the first half, then linear down to one hundredth at nine tenths, then constant.
    """
    decay = min(max((epoch / epochs - 0.5) / 0.4, 0.0), 1.0)
    return learning_rate * (1 - (1 - _FINAL_RATE) * decay)


def train(
    model: nn.Module,
    dataset: Dataset,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    augment: bool,
    seed: int,
    checkpoint_epochs: Collection[int],
    on_checkpoint: Callable[[int, nn.Module], None],
    state: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    progress: logging.Logger = logger,
) -> list[dict[str, Any]]:
    """Train in place by SGD with momentum on the cross-entropy.

    Everything random (order, augmentation, dropout) depends on `seed` and the number of the epoch
    only, so that a run which was killed and called again with the same arguments ends with the same
    bits as an undisturbed one. PyTorch's global generators are left as they were.

    Parameters
    ----------
    model
        Initialised network; moved to `device` and left in evaluation mode.
    dataset
        Moved to `device` as uint8.
    epochs
        Passes over the training set; see `learning_rate_at` for the schedule.
    batch_size
        Examples per step. The last batch of an epoch is short; one of a single example, which has
        no batch statistics, joins the batch before it.
    learning_rate, momentum, weight_decay
        Of SGD; the weight decay applies to all parameters and is in no reported loss.
    augment
        Whether to crop and mirror at random, as `dataset.padding` and `dataset.flip` say.
    seed
        Decides everything random but the initialisation.
    checkpoint_epochs
        From 0, the initialisation, to `epochs`.
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
        test_accuracy, seconds. Row 0 is the initialisation, in evaluation mode and with learning
        rate 0; the later training values are means over the epoch's own batches, taken before each
        step.

    Raises
    ------
    ValueError
        A checkpoint epoch is out of range.
    FloatingPointError
        A loss is not finite.
    """
    beyond = sorted(epoch for epoch in checkpoint_epochs if not 0 <= epoch <= epochs)
    if beyond:
        raise ValueError(
            f"checkpoint_epochs must lie between 0 and the {epochs} epochs of training, "
            f"got {beyond[0]}"
        )
    model.to(device).eval()
    dataset = dataset.to(device)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    rows = _resume(state, model, optimiser)
    for epoch in range(len(rows), epochs + 1):
        rate = learning_rate_at(epoch - 1, epochs, learning_rate) if epoch else 0.0
        start = time.perf_counter()
        with _reproducible(seed, epoch, device) as generator:
            if epoch == 0:
                on_train = evaluate(model, dataset.train)
            else:
                optimiser.param_groups[0]["lr"] = rate
                batches = _shuffled_batches(len(dataset.train), batch_size, generator)
                crops = (generator, dataset.padding, dataset.flip) if augment else None
                on_train = _train_epoch(model, dataset.train, optimiser, batches, crops)
            on_test = evaluate(model, dataset.test)
        rows.append(_row(epoch, rate, on_train, on_test, time.perf_counter() - start))
        _log(progress, rows[-1], epochs)
        if epoch in checkpoint_epochs:
            on_checkpoint(epoch, model)
        if state is not None:
            state = _save_state(state, model, optimiser, rows)
    return rows


@torch.no_grad()
def evaluate(model: nn.Module, examples: Examples) -> Metrics:
    """Mean cross-entropy and accuracy over all examples; leaves the model in evaluation mode."""
    model.eval()
    total = _Total(examples.device)
    for inputs, targets in examples.chunks(_EVALUATION_CHUNK):
        logits = model(inputs)
        total.add(F.cross_entropy(logits, targets), logits, targets)
    return total.metrics()


def _train_epoch(
    model: nn.Module,
    examples: Examples,
    optimiser: torch.optim.Optimizer,
    batches: list[Tensor],
    crops: tuple[torch.Generator, int, bool] | None,
) -> Metrics:
    """Take one step per batch; `crops` are the last arguments of `random_augment`."""
    model.train()
    total = _Total(examples.device)
    for indices in batches:
        chosen = examples.subset(indices)
        if crops is not None:
            chosen = replace(chosen, images=random_augment(chosen.images, *crops))
        inputs, targets = chosen.batch(slice(None))
        logits = model(inputs)
        loss = F.cross_entropy(logits, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total.add(loss.detach(), logits.detach(), targets)
    return total.metrics()


def _shuffled_batches(
    num_examples: int, batch_size: int, generator: torch.Generator
) -> list[Tensor]:
    batches = list(torch.randperm(num_examples, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


class _Total:
    """Running sums on the device, so that no step waits for the host."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.size = 0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        correct = (logits.argmax(1) == targets).sum()
        self.sums += torch.stack([loss.double() * len(targets), correct.double()])
        self.size += len(targets)

    def metrics(self) -> Metrics:
        return Metrics(*(self.sums / self.size).tolist())


def _row(
    epoch: int, rate: float, on_train: Metrics, on_test: Metrics, seconds: float
) -> dict[str, Any]:
    if not (math.isfinite(on_train.loss) and math.isfinite(on_test.loss)):
        raise FloatingPointError(
            f"training diverged in epoch {epoch} at learning rate {rate:g} (training loss "
            f"{on_train.loss}, test loss {on_test.loss}); lower the learning rate"
        )
    return {
        "epoch": epoch,
        "learning_rate": rate,
        "train_loss": on_train.loss,
        "train_accuracy": on_train.accuracy,
        "test_loss": on_test.loss,
        "test_accuracy": on_test.accuracy,
        "seconds": seconds,
    }


def _log(progress: logging.Logger, row: dict[str, Any], epochs: int) -> None:
    progress.info(
        "epoch %d of %d: learning rate %.4g, training loss %.4f (accuracy %.3f), "
        "test loss %.4f (accuracy %.3f), %.1f s",
        row["epoch"],
        epochs,
        *(row[key] for key in list(row)[1:]),
    )


@contextlib.contextmanager
def _reproducible(seed: int, epoch: int, device: str | torch.device) -> Iterator[torch.Generator]:
    """Seed by epoch and force deterministic convolutions, inside the block only.

    Gives a generator of the CPU for order and augmentation; dropout draws from the global ones.
    """
    ours, dropout = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint64).tolist()
    cuda = torch.device(device).type == "cuda"
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(dropout)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(dropout)
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield torch.Generator().manual_seed(ours)
        finally:
            cudnn.deterministic, cudnn.benchmark = flags


def _save_state(
    path: str | os.PathLike,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    rows: list[dict[str, Any]],
) -> str | os.PathLike | None:
    """Write the state; gives where to write the next one, None after a failure."""
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        buffer = optimiser.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer
    try:
        tensorfile.save(path, tensors, {"rows": json.dumps(rows)})
    except OSError as error:
        logger.warning("the state is not saved, so a kill costs all later epochs: %s", error)
        return None
    return path


def _resume(
    path: str | os.PathLike | None, model: nn.Module, optimiser: torch.optim.Optimizer
) -> list[dict[str, Any]]:
    """Load a usable state in place and give the rows of its epochs, otherwise none."""
    if path is None or not os.path.exists(path):
        return []
    try:
        tensors, metadata = tensorfile.load(path)
        rows = json.loads(metadata["rows"])
        weights = {k.removeprefix(_MODEL): t for k, t in tensors.items() if k.startswith(_MODEL)}
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        if shapes != {name: tensor.shape for name, tensor in model.state_dict().items()}:
            raise ValueError("it belongs to another network")
    except (ValueError, KeyError) as error:
        logger.warning("cannot resume from %s (%s); training starts afresh", path, error)
        return []
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        if _MOMENTUM + name in tensors:
            buffer = tensors[_MOMENTUM + name].to(parameter.device)
            optimiser.state[parameter]["momentum_buffer"] = buffer
    logger.info("resuming after epoch %d from %s", rows[-1]["epoch"], path)
    return rows
