"""Rule measure_augmented_spectra: a checkpoint and its data in, one spectrum per factor out."""

from pathlib import Path
from typing import Any

from truehessian.data.augmentation import Augmented
from truehessian.measurements import source as measurement
from truehessian.operators.hessian import Hessian
from truehessian.pipeline import stage
from truehessian.spectra import spectrum


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectra_out: list[str],
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    data = source.dataset
    chosen = sorted(settings["factors"], key=lambda item: item["factor"])
    for item, path in zip(chosen, spectra_out, strict=True):
        images = Augmented(
            data.train,
            item["factor"],
            seed=settings["seed"],
            padding=data.padding,
            flip=data.flip,
        )
        measured, _ = source.measure(
            source.operator(Hessian, images),
            steps=item["steps"],
            seed=settings["seed"],
            purpose="augmented",
            numbers=[item["factor"]],
            tolerance=settings["tolerance"],
            epoch=epoch,
            split="train",
            factor=item["factor"],
            state=state / str(item["factor"]),
        )
        spectrum.save(path, measured)


if __name__ == "__main__":
    stage.run(main, snakemake)
