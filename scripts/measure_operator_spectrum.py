"""Rule measure_operator_spectrum: a checkpoint and its data in, a further matrix's spectrum out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as sources
from truehessian.measurements.costs.operators import operator_spectrum
from truehessian.operators import OPERATORS
from truehessian.pipeline.config.settings import OperatorSettings
from truehessian.spectra import spectrum


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectrum_out: str,
    settings: OperatorSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = sources.Source.load(checkpoint, dataset, settings, network)
    train = source.dataset.train
    series = operator_spectrum(settings.operator, settings, train=len(train))
    measured, _ = source.measure(
        source.shared(OPERATORS.load(settings.operator), train),
        steps=series.steps,
        probes=series.probes,
        seed=settings.seed,
        purpose=f"operator: {settings.operator}",
        tolerance=settings.tolerance,
        epoch=epoch,
        split="train",
        state=state,
    )
    # By the run's own name tables tell it from the training Hessian, of some layers perhaps.
    measured.metadata.update(operator=settings.name, matrix=measured.metadata["operator"])
    spectrum.save(spectrum_out, measured)
