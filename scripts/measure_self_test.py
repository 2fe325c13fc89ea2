"""Rule measure_self_test: a checkpoint and its data in, what subsamples show and a truth out."""

from typing import Any

from truehessian.measurements import calibration, source as measurement
from truehessian.pipeline.config.settings import SelfTestSettings


def main(
    checkpoint: str,
    dataset: str,
    *,
    self_test_out: str,
    settings: SelfTestSettings,
    network: dict[str, Any] | None,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    frame = calibration.trials(
        calibration.TrainingSplit(source),
        parts=settings.parts,
        repetitions=settings.repetitions,
        folds=settings.folds,
        steps=settings.steps,
        tolerance=settings.tolerance,
        seed=settings.seed,
    )
    frame.to_csv(self_test_out, index=False)
