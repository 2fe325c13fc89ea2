"""Rule import_checkpoint: a user's weights in, a checkpoint with its metadata out."""

from typing import Any

from truehessian.data import dataset as datasets
from truehessian.networks import checkpoints
from truehessian.pipeline import stage


def main(
    source: str, dataset: str, *, checkpoint_out: str, network: dict[str, Any], epoch: int
) -> None:
    data = datasets.load(dataset)
    metadata = checkpoints.describe(network, data, epoch=epoch, seed=None, training_precision=None)
    checkpoints.convert(source, checkpoint_out, model_settings=network, metadata=metadata)


if __name__ == "__main__":
    stage.run(main, snakemake)
