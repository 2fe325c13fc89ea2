"""Rule measure_batchnorm_spectra: a checkpoint and its data in, spectra by batch statistics out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as measurement
from truehessian.measurements.costs.batchnorm import batchnorm_spectra
from truehessian.operators.hessian import Hessian
from truehessian.pipeline.config.settings import SpectrumSettings
from truehessian.spectra import spectrum


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectra_out: list[str],
    settings: SpectrumSettings,
    chunk_sizes: list[int],
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    train = source.dataset.train
    series = batchnorm_spectra(chunk_sizes, settings, train=len(train))
    for item, path in zip(series, spectra_out, strict=True):
        size = item.number
        how = {"batchnorm": "train", "chunk_size": size}
        measured = source.spectrum(
            source.operator(Hessian, train, **how),
            steps=item.steps,
            probes=item.probes,
            seed=settings.seed,
            purpose="batch statistics",
            numbers=[size],
            tolerance=settings.tolerance,
            epoch=epoch,
            split="train",
            state=state / str(size),
        )
        spectrum.save(path, measured)
