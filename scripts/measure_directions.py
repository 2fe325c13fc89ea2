"""Rule measure_directions: a checkpoint, data and Ritz vectors in, variances and quotients out."""

from pathlib import Path
from typing import Any

import torch

from truehessian.measurements import held_out, leak_sketch, source as measurement, variance
from truehessian.measurements.costs import directions as costs
from truehessian.operators.hessian import Hessian
from truehessian.pipeline import stage
from truehessian.pipeline.config.settings import VarianceSettings
from truehessian.spectra import vectors as extremal_vectors
from truehessian.theory.predictions import noise as subspace


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    variance_out: str,
    subspace_out: str,
    held_out_out: str,
    settings: VarianceSettings,
    network: dict[str, Any] | None,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    names, ritz, values = extremal_vectors.named(extremal_vectors.load(vectors))
    group_size, seed = settings.group_size, settings.seed
    room = source.basis_memory

    train = measurement.shuffled(source.dataset.train, seed, "training")
    hessian = source.operator(Hessian, train, chunk_size=group_size)
    random = variance.random_directions(hessian.num_params, settings.random_directions, seed)
    sketch = leak_sketch.LeakSketch(list(ritz.chunk(2)), costs.leaks_of_each_end(settings))
    estimate = variance.along_directions(
        hessian, torch.cat([random, ritz]), sketch=sketch, memory=room
    )
    labels = [f"random-{number + 1}" for number in range(len(random))] + names
    variance.table(labels, estimate, hessian.num_params).to_csv(variance_out, index=False)
    noise = variance.of_subspace(hessian, ritz, values, estimate, sketch, memory=room)
    subspace.save(subspace_out, noise)

    test = measurement.shuffled(source.dataset.test, seed, "test")
    series = costs.held_out(settings, ritz_vectors=len(ritz), test=len(test))
    parts = measurement.disjoint_parts(test, series.matrices)
    folds = [source.operator(Hessian, part) for part in parts]
    runs = [
        source.measure(
            fold,
            steps=series.steps,
            seed=seed,
            purpose="held-out fold",
            numbers=[number],
            tolerance=settings.tolerance,
            state=state / f"fold-{number}",
        )[1][0]
        for number, fold in enumerate(folds)
    ]
    quotients = variance.along_directions(
        source.operator(Hessian, test, chunk_size=group_size), ritz, memory=room
    )
    grouped = [source.operator(Hessian, part, chunk_size=group_size) for part in parts]
    brackets = held_out.brackets(grouped, runs, memory=room)
    frame = held_out.table(names, values, quotients, brackets)
    frame.to_csv(held_out_out, index=False)


if __name__ == "__main__":
    stage.run(main, snakemake)
