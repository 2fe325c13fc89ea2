"""Rule measure_batch_spectra: a checkpoint and its data in, spectra of batches and noise out."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from truehessian.measurements import fold_spectra, groups, source as measurement
from truehessian.measurements.costs.batches import OfBatches, batch_spectra
from truehessian.operators.folds import Folds
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import BatchSettings
from truehessian.spectra import overlaps, spectrum, vectors as extremal_vectors
from truehessian.spectra.spectrum import Spectrum


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    batch_out: list[str],
    noise_out: list[str],
    overlaps_out: str,
    settings: BatchSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    full = source.operator(Hessian, source.dataset.train)
    random = groups.random_directions(full.num_params, settings.noise_directions, settings.seed)
    seen = Seen(full, random, full.matmat(random))
    names, ritz, _ = extremal_vectors.named(extremal_vectors.load(vectors))
    how: dict[str, Any] = {"seed": settings.seed, "tolerance": settings.tolerance}
    how |= {"epoch": epoch, "split": "train"}
    turned = []
    series = batch_spectra(settings, train=full.num_examples)
    for of_one_size, batch_to, noise_to in zip(series, batch_out, noise_out, strict=True):
        batches, noises, squared = of_size(source, seen, of_one_size, how, ritz, state)
        size = of_one_size.batch.number
        for fold, overlap in enumerate(squared):
            turned += overlaps.records(overlap, names, batch_size=size, fold=fold)
        spectrum.save(batch_to, batches)
        spectrum.save(noise_to, noises)
    overlaps.table(turned).to_csv(overlaps_out, index=False)


class Seen(NamedTuple):
    """The full Hessian, and its products with random directions, as rows."""

    full: Hessian
    random: Tensor
    products: Tensor


def of_size(
    source: measurement.Source,
    seen: Seen,
    series: OfBatches,
    how: dict[str, Any],
    ritz: Tensor,
    state: Path,
) -> tuple[Spectrum, Spectrum, list[Any]]:
    """Measure the batches of one size: stacks of spectra and of noise, and squared overlaps."""
    of_batch, of_noise = series
    train, size = source.dataset.train, of_batch.number
    indices = measurement.draw_folds(len(train), size, of_batch.matrices, how["seed"])
    # As many ranks as are compared with the full data's at each end.
    as_batch: dict[str, Any] = {
        "purpose": "batch",
        "steps": of_batch.steps,
        "ranks": len(ritz) // 2,
    }
    as_noise: dict[str, Any] = {"purpose": "noise", "steps": of_noise.steps}
    folds = Folds(seen.full, [train.subset(positions) for positions in indices])
    own = {**how, "batch_size": size}
    numbers = [[size, fold] for fold in range(len(indices))]
    states = [state / f"{size}-{fold}" for fold in range(len(indices))]
    batches = fold_spectra.of_folds(
        source, folds, states=[s / "batch" for s in states], numbers=numbers, onto=ritz,
        **as_batch, **own,
    )  # fmt: skip
    squares = (folds.products_of_all(seen.random) - seen.products).square().sum(2).tolist()
    noises = fold_spectra.of_folds(
        source, folds, states=[s / "noise" for s in states[: of_noise.matrices]],
        numbers=numbers[: of_noise.matrices], full=seen.full, **as_noise, **own,
    )  # fmt: skip
    squared = [measured.metadata.pop("squared_overlaps") for measured in batches]
    stack = measurement.stack_folds(batches, indices)
    stack.metadata.update(noise_squares=squares, population=len(train))
    return stack, measurement.stack_folds(noises, indices[: len(noises)]), squared
