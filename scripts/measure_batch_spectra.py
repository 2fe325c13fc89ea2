"""Rule measure_batch_spectra: a checkpoint and its data in, spectra of batches and noise out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as measurement, variance
from truehessian.measurements.costs.batches import batch_spectra
from truehessian.operators.hessian import Hessian
from truehessian.operators.noise import Noise
from truehessian.pipeline import stage
from truehessian.pipeline.config.settings import BatchSettings
from truehessian.spectra import overlaps, spectrum, vectors as extremal_vectors


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
    train = source.dataset.train
    full = source.operator(Hessian, train)
    seed = settings.seed
    how: dict[str, Any] = {"seed": seed, "tolerance": settings.tolerance}
    how |= {"epoch": epoch, "split": "train"}
    series = batch_spectra(settings, train=len(train))
    names, ritz, _ = extremal_vectors.named(extremal_vectors.load(vectors))
    ranks = len(names) // 2  # those that are compared with the full data's
    random = variance.random_directions(full.num_params, settings.noise_directions, seed)
    whole = full.matmat(random)
    turned = []
    for number, (of_batch, of_noise) in enumerate(series):
        size = of_batch.number
        indices = measurement.draw_folds(len(train), size, of_batch.matrices, seed)
        batches, noises, squares = [], [], []
        for fold, positions in enumerate(indices):
            batch = source.operator(Hessian, train.subset(positions))
            own = {**how, "batch_size": size, "numbers": [size, fold]}
            folder = state / f"{size}-{fold}"
            as_batch: dict[str, Any] = {"purpose": "batch", "steps": of_batch.steps, "ranks": ranks}
            measured = source.spectrum(batch, onto=ritz, state=folder / "batch", **as_batch, **own)
            squared = measured.metadata.pop("squared_overlaps")
            turned += overlaps.records(squared, names, batch_size=size, fold=fold)
            batches.append(measured)
            squares.append((batch.matmat(random) - whole).square().sum(1).tolist())
            if fold < of_noise.matrices:
                noise = Noise(batch, full)
                as_noise: dict[str, Any] = {"purpose": "noise", "steps": of_noise.steps}
                noises.append(source.spectrum(noise, state=folder / "noise", **as_noise, **own))
        stack = measurement.stack_folds(batches, indices)
        stack.metadata.update(noise_squares=squares, population=len(train))
        spectrum.save(batch_out[number], stack)
        spectrum.save(noise_out[number], measurement.stack_folds(noises, indices[: len(noises)]))
    overlaps.table(turned).to_csv(overlaps_out, index=False)


if __name__ == "__main__":
    stage.run(main, snakemake)
