"""Rule measure_batch_spectra: a checkpoint and its data in, spectra of batches and noise out."""

from pathlib import Path
from typing import Any

from truehessian import (
    extremal_vectors,
    measurement,
    operators,
    overlaps,
    spectrum,
    stage,
    variance,
)


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
    full = source.operator(operators.Hessian, train)
    how = {
        "seed": settings["seed"],
        "tolerance": settings["tolerance"],
        "epoch": epoch,
        "split": "train",
    }
    names, ritz, _ = extremal_vectors.named(extremal_vectors.load(vectors))
    ranks = len(names) // 2  # those that are compared with the full data's
    count = settings["noise_directions"]
    random = variance.random_directions(full.num_params, count, settings["seed"])
    whole = full.matmat(random)
    turned = []
    for number, size in enumerate(sorted(settings["sizes"])):
        how["batch_size"] = size
        indices = measurement.draw_folds(len(train), size, settings["folds"], settings["seed"])
        batches, noises, squares = [], [], []
        for fold, positions in enumerate(indices):
            batch = source.operator(operators.Hessian, train.subset(positions))
            own = state / f"{size}-{fold}"
            how["numbers"] = [size, fold]
            steps = settings["steps"]
            measured = source.spectrum(
                batch,
                steps=steps,
                ranks=ranks,
                onto=ritz,
                state=own / "batch",
                purpose="batch",
                **how,
            )
            squared = measured.metadata.pop("squared_overlaps")
            turned += overlaps.records(squared, names, batch_size=size, fold=fold)
            batches.append(measured)
            squares.append((batch.matmat(random) - whole).square().sum(1).tolist())
            if fold < settings["noise_folds"]:
                noise = operators.Noise(batch, full)
                steps = settings["noise_steps"]
                noises.append(
                    source.spectrum(noise, steps=steps, state=own / "noise", purpose="noise", **how)
                )
        stack = measurement.stack_folds(batches, indices)
        stack.metadata.update(noise_squares=squares, population=len(train))
        spectrum.save(batch_out[number], stack)
        spectrum.save(noise_out[number], measurement.stack_folds(noises, indices[: len(noises)]))
    overlaps.table(turned).to_csv(overlaps_out, index=False)


if __name__ == "__main__":
    stage.run(main, snakemake)
