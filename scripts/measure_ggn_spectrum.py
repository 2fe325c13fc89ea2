"""Rule measure_ggn_spectrum: a checkpoint and its data in, the Gauss-Newton spectrum out."""

from typing import Any

from truehessian import measurement, operators, spectrum, stage


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectrum_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    measured, _ = measurement.measure(
        source.operator(operators.GGN, source.dataset.train),
        steps=settings["steps"],
        probes=settings["probes"],
        seed=settings["seed"],
        epoch=epoch,
        split="train",
    )
    spectrum.save(spectrum_out, measured)


if __name__ == "__main__":
    stage.run(main, snakemake)
