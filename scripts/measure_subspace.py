"""Rule measure_subspace: a checkpoint, data and Ritz vectors in, noise within a subspace out."""

from typing import Any

import numpy as np

from truehessian.measurements import source as measurement
from truehessian.measurements.adaptive_subspace import Wanted, adaptive_subspace
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import SubspaceSettings
from truehessian.spectra import vectors as extremal_vectors
from truehessian.theory.predictions import noise as noises


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    subspace_out: str,
    reached_out: str,
    settings: SubspaceSettings,
    network: dict[str, Any] | None,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    _, ritz, values = extremal_vectors.named(extremal_vectors.load(vectors))
    ends = list(ritz.chunk(2))
    wanted = Wanted(settings.share, settings.passes, min(settings.ranks, len(ends[0])))
    outermost = np.concatenate([end[: wanted.ranks] for end in np.split(values, 2)])
    train = measurement.shuffled(source.dataset.train, settings.seed, "training")
    # Of the loss alone: what a weight decay adds is no noise.
    hessian = source.operator(Hessian, train, chunk_size=settings.group_size, weight_decay=0.0)
    noise, reached = adaptive_subspace(
        hessian, ends, outermost - settings.weight_decay, wanted, memory=source.basis_memory
    )
    noises.save(subspace_out, noise)
    reached.table(wanted).to_csv(reached_out, index=False)
