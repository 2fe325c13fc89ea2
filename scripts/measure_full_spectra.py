"""Rule measure_full_spectra: a checkpoint and its data in, spectra and Ritz vectors out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as measurement
from truehessian.measurements.costs.full import full_spectra
from truehessian.measurements.costs.series import Series
from truehessian.networks import checkpoints, evaluation
from truehessian.operators.ggn import GGN
from truehessian.operators.hessian import Hessian
from truehessian.operators.mean import NetworkOperator
from truehessian.pipeline.config.settings import SpectrumSettings
from truehessian.spectra import spectrum, vectors


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectrum_out: str,
    vectors_out: str,
    ggn_out: str,
    test_out: str,
    evaluation_out: str,
    settings: SpectrumSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    evaluation.of_checkpoint(
        source.model,
        source.dataset,
        chunk_size=settings.chunk_size,
        loss=source.products["loss"],
        imported=checkpoints.read_metadata(checkpoint).get("seed") is None,
    ).to_csv(evaluation_out, index=False)

    how: dict[str, Any] = {"seed": settings.seed, "tolerance": settings.tolerance, "epoch": epoch}

    def measured(series: Series, kind: type[NetworkOperator], split: str, **own: Any) -> Any:
        operator = source.shared(kind, getattr(source.dataset, split))
        own |= {"purpose": series.name, "split": split, "state": state / series.name}
        return source.measure(operator, steps=series.steps, probes=series.probes, **how, **own)

    sizes = {"train": len(source.dataset.train), "test": len(source.dataset.test)}
    of_full, of_test, of_ggn = full_spectra(settings, **sizes)
    count = settings.vectors
    full, runs = measured(of_full, Hessian, "train", ranks=count)
    spectrum.save(spectrum_out, full)
    vectors.save(vectors_out, runs[0], count)
    del runs  # and with them their bases, gigabytes of a large network
    test, _ = measured(of_test, Hessian, "test")
    spectrum.save(test_out, test)
    ggn, _ = measured(of_ggn, GGN, "train")
    spectrum.save(ggn_out, ggn)
