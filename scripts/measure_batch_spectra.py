"""Rule measure_batch_spectra: a checkpoint and its data in, spectra of batches and noise out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as measurement, variance
from truehessian.operators.hessian import Hessian
from truehessian.operators.noise import Noise
from truehessian.pipeline import stage
from truehessian.spectra import overlaps, spectrum, vectors as extremal_vectors


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    batch_out: list[str],
    noise_out: list[str],
    overlaps_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    train = source.dataset.train
    full = source.operator(Hessian, train)
    seed = settings["seed"]
    how = {"seed": seed, "tolerance": settings["tolerance"], "epoch": epoch, "split": "train"}
    names, ritz, _ = extremal_vectors.named(extremal_vectors.load(vectors))
    ranks = len(names) // 2  # those that are compared with the full data's
    random = variance.random_directions(full.num_params, settings["noise_directions"], seed)
    whole = full.matmat(random)
    turned = []
    for number, size in enumerate(sorted(settings["sizes"])):
        indices = measurement.draw_folds(len(train), size, settings["folds"], seed)
        batches, noises, squares = [], [], []
        for fold, positions in enumerate(indices):
            batch = source.operator(Hessian, train.subset(positions))
            own = {**how, "batch_size": size, "numbers": [size, fold]}
            folder = state / f"{size}-{fold}"
            as_batch = {"purpose": "batch", "steps": settings["steps"], "ranks": ranks}
            measured = source.spectrum(batch, onto=ritz, state=folder / "batch", **as_batch, **own)
            squared = measured.metadata.pop("squared_overlaps")
            turned += overlaps.records(squared, names, batch_size=size, fold=fold)
            batches.append(measured)
            squares.append((batch.matmat(random) - whole).square().sum(1).tolist())
            if fold < settings["noise_folds"]:
                noise = Noise(batch, full)
                as_noise = {"purpose": "noise", "steps": settings["noise_steps"]}
                noises.append(source.spectrum(noise, state=folder / "noise", **as_noise, **own))
        stack = measurement.stack_folds(batches, indices)
        stack.metadata.update(noise_squares=squares, population=len(train))
        spectrum.save(batch_out[number], stack)
        spectrum.save(noise_out[number], measurement.stack_folds(noises, indices[: len(noises)]))
    overlaps.table(turned).to_csv(overlaps_out, index=False)


if __name__ == "__main__":
    stage.run(main, snakemake)
