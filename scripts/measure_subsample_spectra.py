"""Rule measure_subsample_spectra: a checkpoint and its data in, spectra of disjoint parts out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import fold_spectra, source as measurement
from truehessian.measurements.costs.subsamples import subsample_spectra
from truehessian.operators.folds import Folds
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
    whole = source.operator(Hessian, train)
    series = subsample_spectra(settings, train=len(train))
    for item, path in zip(series, spectra_out, strict=True):
        parts = item.matrices
        indices = measurement.disjoint_folds(len(train), parts, settings.seed)
        folds = Folds(whole, [train.subset(positions) for positions in indices])
        measured = fold_spectra.of_folds(
            source,
            folds,
            states=[state / f"{parts}-{fold}" for fold in range(parts)],
            numbers=[[parts, fold] for fold in range(parts)],
            steps=item.steps,
            seed=settings.seed,
            purpose="subsample",
            tolerance=settings.tolerance,
            epoch=epoch,
            split="train",
            parts=parts,
        )
        spectrum.save(path, measurement.stack_folds(measured, indices))
