"""Rule measure_full_spectra: a checkpoint and its data in, spectra and Ritz vectors out."""

from pathlib import Path
from typing import Any

from truehessian.measurements import source as measurement
from truehessian.networks import checkpoints, evaluation
from truehessian.operators.ggn import GGN
from truehessian.operators.hessian import Hessian
from truehessian.operators.mean import NetworkOperator
from truehessian.pipeline import stage
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
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    evaluation.of_checkpoint(
        source.model,
        source.dataset,
        chunk_size=settings["chunk_size"],
        imported=checkpoints.read_metadata(checkpoint).get("seed") is None,
    ).to_csv(evaluation_out, index=False)

    how = {name: settings[name] for name in ("probes", "seed", "tolerance")}

    def measured(kind: type[NetworkOperator], split: str, purpose: str, **own: Any) -> Any:
        operator = source.operator(kind, getattr(source.dataset, split))
        own |= {"split": split, "purpose": purpose, "epoch": epoch, "state": state / purpose}
        return source.measure(operator, **how, **own)

    steps, count = settings["steps"], settings["vectors"]
    full, runs = measured(Hessian, "train", "full", steps=steps, ranks=count)
    spectrum.save(spectrum_out, full)
    vectors.save(vectors_out, runs[0], count)
    del runs  # and with them their bases, gigabytes of a large network
    test, _ = measured(Hessian, "test", "test", steps=steps)
    spectrum.save(test_out, test)
    ggn, _ = measured(GGN, "train", "ggn", steps=settings["ggn_steps"])
    spectrum.save(ggn_out, ggn)


if __name__ == "__main__":
    stage.run(main, snakemake)
