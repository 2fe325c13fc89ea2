"""Rule train_network: images in, weights at the listed epochs and the learning curve out."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from truehessian import devices, tensorfile
from truehessian.data import dataset as datasets, own_augmentation
from truehessian.networks import checkpoints, registry, training
from truehessian.networks.losses import base as losses
from truehessian.pipeline.config.settings import TrainingSettings

_RECIPE = {
    "epochs",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "augment",
    "seed",
    "precision",
    "channels_last",
}


def main(
    dataset: str,
    *,
    checkpoints_out: list[str],
    training_out: str,
    settings: TrainingSettings,
    network: dict[str, Any],
    epochs: list[int],
    state: Path,
) -> None:
    data = datasets.load(dataset)
    state.mkdir(parents=True, exist_ok=True)

    def keep(epoch: int, model: nn.Module) -> None:
        # Beside the resume state: Snakemake deletes the outputs of a job that was killed.
        about = checkpoints.describe(
            network, data, epoch=epoch, seed=settings.seed, training_precision=settings.precision
        )
        checkpoints.save(state / f"{epoch}.safetensors", model, metadata=about)

    rows = training.train(
        registry.build(**network, seed=settings.seed),
        data,
        training.Recipe(
            **settings.model_dump(include=_RECIPE),
            compiled=settings.compile,
            loss=losses.of_settings(settings.loss),
            augmentation=own_augmentation.named(settings.augmentation),
        ),
        checkpoint_epochs=epochs,
        on_checkpoint=keep,
        state=state / "state.safetensors",
        device=devices.claim(settings.device),
    )
    pd.DataFrame(rows).to_csv(training_out, index=False)
    for epoch, path in zip(epochs, checkpoints_out, strict=True):
        kept = state / f"{epoch}.safetensors"
        _check(kept)
        shutil.copyfile(kept, path)


def _check(path: Path) -> None:
    """Take a damaged checkpoint in the resume state for a lost one."""
    try:
        tensorfile.load(path)
    except ValueError as error:
        raise FileNotFoundError(errno.ENOENT, str(error), str(path)) from error
