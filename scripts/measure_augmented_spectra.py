"""Rule measure_augmented_spectra: a checkpoint and its data in, one spectrum per factor out."""

from pathlib import Path
from typing import Any

from truehessian.data import own_augmentation
from truehessian.data.augmentation import Augmented
from truehessian.measurements import source as measurement
from truehessian.measurements.costs.augmented import augmented_spectra
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import AugmentationSettings
from truehessian.spectra import spectrum


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectra_out: list[str],
    settings: AugmentationSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    data = source.dataset
    series = augmented_spectra(settings.factors, train=len(data.train))
    own = own_augmentation.named(settings.augmentation)
    for item, path in zip(series, spectra_out, strict=True):
        images = (
            own_augmentation.augmented(data.train, item.number, own, seed=settings.seed)
            if own
            else Augmented(
                data.train,
                item.number,
                seed=settings.seed,
                padding=data.padding,
                flip=data.flip,
            )
        )
        measured, _ = source.measure(
            source.shared(Hessian, images),
            steps=item.steps,
            seed=settings.seed,
            purpose="augmented",
            numbers=[item.number],
            tolerance=settings.tolerance,
            epoch=epoch,
            split="train",
            factor=item.number,
            state=state / str(item.number),
        )
        spectrum.save(path, measured)
