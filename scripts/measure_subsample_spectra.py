"""Rule measure_subsample_spectra: a checkpoint and its data in, spectra of disjoint parts out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as measurement
from truehessian.measurements.costs.subsamples import subsample_spectra
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import SubsampleSettings
from truehessian.spectra import spectrum


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectra_out: list[str],
    settings: SubsampleSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    train = source.dataset.train
    series = subsample_spectra(settings, train=len(train))
    for item, path in zip(series, spectra_out, strict=True):
        parts = item.matrices
        indices = measurement.disjoint_folds(len(train), parts, settings.seed)
        measured = [
            source.spectrum(
                source.operator(Hessian, train.subset(positions)),
                steps=item.steps,
                seed=settings.seed,
                purpose="subsample",
                numbers=[parts, fold],
                tolerance=settings.tolerance,
                epoch=epoch,
                split="train",
                parts=parts,
                state=state / f"{parts}-{fold}",
            )
            for fold, positions in enumerate(indices)
        ]
        spectrum.save(path, measurement.stack_folds(measured, indices))
