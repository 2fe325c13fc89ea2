"""Rule measure_influence: a checkpoint, data, Ritz vectors in, curvature without examples out."""

from pathlib import Path
from typing import Any

import torch

from truehessian.measurements import left_out, source as measurement
from truehessian.networks.schedule import learning_rate_at
from truehessian.pipeline.config.settings import InfluenceSettings
from truehessian.spectra import vectors as extremal_vectors
from truehessian.theory import early_stopping


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    influence_out: str,
    settings: InfluenceSettings,
    network: dict[str, Any] | None,
    epoch: int,
    state: Path,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    count = len(source.dataset.train)
    damping = damping_at(settings, epoch, count)
    places = left_out.draw(count, settings.examples, settings.seed)
    left = left_out.solve(
        source,
        places,
        state / "left-out",
        damping=damping,
        penalty=settings.penalty,
        tolerance=settings.accuracy,
        most=settings.solver_steps,
    )
    found = left_out.matrices(source, places, torch.from_numpy(left.offsets))
    ritz = extremal_vectors.load(vectors)
    outermost = torch.stack([ritz["top"][0], ritz["bottom"][0]]).double()
    values = [ritz["top_values"][0].item(), ritz["bottom_values"][0].item()]
    how: dict[str, Any] = {"steps": settings.steps, "seed": settings.seed}
    how |= {"tolerance": settings.tolerance, "state": state / "curvature"}
    frame = left_out.table(source, found, outermost, values, **how)
    left_out.with_facts(frame, left, damping, settings.penalty).to_csv(influence_out, index=False)


def damping_at(settings: InfluenceSettings, epoch: int, num_examples: int) -> float:
    """Find the damping that the steps up to an epoch amount to, unless it is given."""
    how = settings.trained
    if how is None:
        assert settings.damping is not None, "refused before"
        return settings.damping
    steps = -(-num_examples // how.batch_size)
    rates = [learning_rate_at(past, how.epochs, how.learning_rate) for past in range(epoch)]
    return early_stopping.damping([rate for rate in rates for _ in range(steps)], how.momentum)
