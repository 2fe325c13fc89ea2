"""Rule measure_parts: a checkpoint, its data and Ritz vectors in, parts of single examples out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import parts, source as sources
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import PartsSettings
from truehessian.spectra import vectors as extremal_vectors
from truehessian.theory.predictions import examples


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    parts_out: str,
    settings: PartsSettings,
    network: dict[str, Any] | None,
    state: Path,
) -> None:
    source = sources.Source.load(checkpoint, dataset, settings, network)
    kept = extremal_vectors.outermost(extremal_vectors.load(vectors), settings.vectors)
    _, ritz, values = extremal_vectors.named(kept)
    # Of the loss alone: what a weight decay adds is the same in every batch.
    hessian = source.operator(Hessian, source.dataset.train, weight_decay=0.0)
    measured = parts.measure(hessian, ritz, values - settings.weight_decay, settings, state=state)
    examples.save(parts_out, measured)
