"""Rule measure_self_test: a checkpoint and its data in, what subsamples show and a truth out."""

from typing import Any

from truehessian.measurements import calibration, source as measurement
from truehessian.pipeline import stage


def main(
    checkpoint: str,
    dataset: str,
    *,
    self_test_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    how = ("parts", "repetitions", "folds", "steps", "tolerance", "seed")
    frame = calibration.trials(
        calibration.TrainingSplit(source), **{key: settings[key] for key in how}
    )
    frame.to_csv(self_test_out, index=False)


if __name__ == "__main__":
    stage.run(main, snakemake)
