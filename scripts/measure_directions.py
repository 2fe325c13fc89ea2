"""Rule measure_directions: a checkpoint, data and Ritz vectors in, variances and quotients out."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from numpy.typing import NDArray

from truehessian.measurements import (
    fold_spectra,
    groups,
    held_out,
    leak_sketch,
    source as measurement,
    variance,
)
from truehessian.measurements.costs import directions as costs
from truehessian.operators.batches import as_data
from truehessian.operators.folds import Folds
from truehessian.operators.hessian import Hessian
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
    # Of the loss alone: what a weight decay adds is no noise.
    hessian = source.operator(Hessian, train, chunk_size=group_size, weight_decay=0.0)
    random = groups.random_directions(hessian.num_params, settings.random_directions, seed)
    sketch = leak_sketch.LeakSketch(list(ritz.chunk(2)), costs.leaks_of_each_end(settings))
    estimate = variance.along_directions(
        hessian, torch.cat([random, ritz]), sketch=sketch, memory=room
    )
    labels = [f"random-{number + 1}" for number in range(len(random))] + names
    variance.table(labels, estimate, hessian.num_params).to_csv(variance_out, index=False)
    own = values - settings.weight_decay
    noise = variance.of_subspace(hessian, ritz, own, estimate, sketch, memory=room)
    subspace.save(subspace_out, noise)

    frame = held_out_frame(source, names, ritz, values, settings=settings, state=state)
    frame.to_csv(held_out_out, index=False)


def held_out_frame(
    source: measurement.Source,
    names: list[str],
    ritz: torch.Tensor,
    values: NDArray,
    *,
    settings: VarianceSettings,
    state: Path,
) -> pd.DataFrame:
    room, group_size = source.basis_memory, settings.group_size
    test = measurement.shuffled(source.dataset.test, settings.seed, "test")
    series = costs.held_out(settings, ritz_vectors=len(ritz), test=len(test))
    parts = measurement.disjoint_parts(test, series.matrices)
    whole = source.operator(Hessian, test)
    folds = Folds(whole, parts)
    runs = fold_spectra.runs_of(
        source,
        folds,
        states=[state / f"fold-{number}" for number in range(len(parts))],
        numbers=[[number] for number in range(len(parts))],
        steps=series.steps,
        seed=settings.seed,
        purpose="held-out fold",
        tolerance=settings.tolerance,
    )
    in_groups = whole.with_data(whole.data, group_size)
    quotients = variance.along_directions(in_groups, ritz, memory=room)
    grouped = [whole.with_data(as_data(part), group_size) for part in parts]
    crossed = held_out.cross(grouped, runs, ranks=costs.crossed_ranks(len(ritz)), memory=room)
    return held_out.table(names, values, quotients, crossed)
