"""Rule measure_full_spectrum: a checkpoint and its data in, the spectrum and Ritz vectors out."""

from typing import Any

from truehessian import measurement, operators, spectrum, stage


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectrum_out: str,
    vectors_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    hessian = source.operator(operators.Hessian, source.dataset.train)
    measured, runs = measurement.measure(
        hessian,
        steps=settings["steps"],
        probes=settings["probes"],
        seed=settings["seed"],
        epoch=epoch,
        split="train",
    )
    spectrum.save(spectrum_out, measured)
    measurement.save_extremal_vectors(vectors_out, runs[0], settings["vectors"])


if __name__ == "__main__":
    stage.run(main, snakemake)
