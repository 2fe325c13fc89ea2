"""Rule import_checkpoint: a user's weights in, a checkpoint with its metadata out."""

from typing import Any

from truehessian import checkpoints, datasets, stage


def main(
    source: str, dataset: str, *, checkpoint_out: str, network: dict[str, Any], epoch: int
) -> None:
    data = datasets.load(dataset)
    metadata = checkpoints.describe(network, data, epoch=epoch, seed=None, training_precision=None)
    checkpoints.convert(source, checkpoint_out, model_settings=network, metadata=metadata)


if __name__ == "__main__":
    stage.run(main, snakemake)
