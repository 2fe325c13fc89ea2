"""Rule measure_held_out: a checkpoint, test data and training Ritz vectors in, curvature out."""

from typing import Any

from truehessian import held_out, measurement, operators, spectrum, stage, variance


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    held_out_out: str,
    spectrum_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    test = measurement.shuffled(source.dataset.test, settings["seed"])
    steps, seed = settings["held_out_steps"], settings["seed"]

    whole = source.operator(operators.Hessian, test)
    measured, _ = measurement.measure(
        whole, steps=steps, probes=1, seed=seed, epoch=epoch, split="test"
    )
    spectrum.save(spectrum_out, measured)

    folds = [
        source.operator(operators.Hessian, part)
        for part in measurement.disjoint_parts(test, settings["held_out_folds"])
    ]
    runs = [measurement.measure(fold, steps=steps, probes=1, seed=seed)[1][0] for fold in folds]
    brackets = held_out.brackets(folds, runs)

    names, directions, values = measurement.named_directions(
        measurement.load_extremal_vectors(vectors)
    )
    grouped = source.operator(operators.Hessian, test, chunk_size=settings["held_out_group_size"])
    estimate = variance.along_directions(grouped, directions)
    held_out.table(names, values, estimate, brackets).to_csv(held_out_out, index=False)


if __name__ == "__main__":
    stage.run(main, snakemake)
