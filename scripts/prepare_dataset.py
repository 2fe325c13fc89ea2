"""Rule prepare_dataset: the name of a data set in, one file with its images and splits out."""

from typing import Any

from truehessian.data import catalogue, dataset
from truehessian.pipeline import stage


def main(*, dataset_out: str, settings: dict[str, Any]) -> None:
    dataset.save(dataset_out, catalogue.fetch(**settings))


if __name__ == "__main__":
    stage.run(main, snakemake)
