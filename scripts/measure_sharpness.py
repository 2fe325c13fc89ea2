"""Rule measure_sharpness: a checkpoint, data and Ritz vectors in, curvature along gradients out."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from truehessian.measurements import geometry, sharpness, source as measurement
from truehessian.measurements.chunks_kept import kept
from truehessian.networks.schedule import learning_rate_at
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import SharpnessSettings
from truehessian.spectra import vectors as extremal_vectors


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    optimiser: str | None = None,
    *,
    sharpness_out: str,
    settings: SharpnessSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    train = source.dataset.train
    hessian = source.operator(Hessian, train)
    ritz = extremal_vectors.load(vectors)
    onto = torch.nn.functional.normalize(ritz["top"].double(), dim=1)

    whole = partial(sharpness.along_gradient, hessian, onto=onto)
    measured: dict[int | None, sharpness.AlongGradients] = {
        None: kept(state / "full.npz", sharpness.AlongGradients, whole)
    }
    for size in settings.sizes:
        # The first ones are those whose spectra are measured, where seeds and sizes are the same.
        folds = measurement.draw_folds(len(train), size, 2 * settings.folds, settings.seed)
        batches = [train.subset(positions) for positions in folds]
        own, others = batches[: settings.folds], batches[settings.folds :]
        along = partial(sharpness.along_gradients, hessian, own, others, onto=onto)
        measured[size] = kept(state / f"{size}.npz", sharpness.AlongGradients, along)

    facts: dict[str, float] = {
        "dimension": len(onto),
        "chance": len(onto) / hessian.num_params,
        "largest": ritz["top_values"][0].item(),
        **sharpness.facts_of_steps(rate_at(settings, epoch), settings.momentum),
    }
    if optimiser is not None:
        how: dict[str, Any] = {"steps": settings.steps, "seed": settings.seed}
        how |= {"tolerance": settings.tolerance, "state": state / "preconditioned"}
        facts |= geometry.preconditioned_sharpness(source, hessian, optimiser, **how)
    sharpness.table(measured, facts).to_csv(sharpness_out, index=False)


def rate_at(settings: SharpnessSettings, epoch: int) -> float | None:
    """Learning rate of the steps that led to an epoch, and of the first ones at the beginning."""
    rate, epochs = settings.learning_rate, settings.training_epochs
    if rate is None or epochs is None:
        return rate
    return learning_rate_at(max(epoch - 1, 0), epochs, rate)
