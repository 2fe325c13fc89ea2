"""Rule measure_noise_spectra: a checkpoint and its data in, the spectra of H_B - H out."""

from typing import Any

from truehessian import measurement, operators, spectrum, stage


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectra_out: list[str],
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    train = source.dataset.train
    full = source.operator(operators.Hessian, train)
    for size, path in zip(sorted(settings["sizes"]), spectra_out, strict=True):
        folds = measurement.draw_folds(len(train), size, settings["folds"], settings["seed"])
        indices = folds[: settings["noise_folds"]]
        measured = [
            measurement.measure(
                operators.noise(source.operator(operators.Hessian, train.subset(fold)), full),
                steps=settings["noise_steps"],
                probes=1,
                seed=settings["seed"],
                epoch=epoch,
                split="train",
                batch_size=size,
            )[0]
            for fold in indices
        ]
        spectrum.save(path, measurement.stack_folds(measured, indices))


if __name__ == "__main__":
    stage.run(main, snakemake)
