"""Rule measure_full_spectra: a checkpoint and its data in, spectra and Ritz vectors out."""

from pathlib import Path
from typing import Any

from truehessian import (
    checkpoints,
    evaluation,
    extremal_vectors,
    measurement,
    operators,
    spectrum,
    stage,
)


def main(
    checkpoint: str,
    dataset: str,
    *,
    spectrum_out: str,
    vectors_out: str,
    ggn_out: str,
    test_out: str,
    evaluation_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    how = {
        "probes": settings["probes"],
        "seed": settings["seed"],
        "tolerance": settings["tolerance"],
        "epoch": epoch,
    }
    steps = settings["steps"]
    hessian = source.operator(operators.Hessian, source.dataset.train)
    evaluated = evaluation.of_checkpoint(
        source.model,
        source.dataset,
        chunk_size=settings["chunk_size"],
        imported=checkpoints.read_metadata(checkpoint).get("seed") is None,
    )
    evaluated.to_csv(evaluation_out, index=False)
    measured, runs = source.measure(
        hessian,
        steps=steps,
        ranks=settings["vectors"],
        split="train",
        purpose="full",
        state=state / "train",
        **how,
    )
    spectrum.save(spectrum_out, measured)
    extremal_vectors.save(vectors_out, runs[0], settings["vectors"])
    del runs  # and with them their bases, gigabytes of a large network

    test = source.operator(operators.Hessian, source.dataset.test)
    measured, _ = source.measure(
        test, steps=steps, split="test", purpose="test", state=state / "test", **how
    )
    spectrum.save(test_out, measured)

    ggn = source.operator(operators.GGN, source.dataset.train)
    measured, _ = source.measure(
        ggn,
        steps=settings["ggn_steps"],
        ends=["largest"],  # the smallest is zero, of which there is no relative error
        split="train",
        purpose="ggn",
        state=state / "ggn",
        **how,
    )
    spectrum.save(ggn_out, measured)


if __name__ == "__main__":
    stage.run(main, snakemake)
