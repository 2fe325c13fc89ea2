"""Rule import_checkpoint: a user's weights in, a checkpoint with its metadata out."""

import tempfile
from pathlib import Path
from typing import Any

from truehessian.data import dataset as datasets
from truehessian.networks import checkpoints
from truehessian.networks.places import PLACES


def main(
    dataset: str,
    source: str | None = None,
    *,
    checkpoint_out: str,
    network: dict[str, Any],
    epoch: int,
    place: dict[str, str] | None = None,
) -> None:
    data = datasets.load(dataset)
    metadata = checkpoints.describe(network, data, epoch=epoch, seed=None, training_precision=None)
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            assert place is not None, "weights are in a file, or fetched"
            source = PLACES.load(place["name"]).fetch(place["where"], epoch, Path(folder))
        checkpoints.convert(source, checkpoint_out, model_settings=network, metadata=metadata)
