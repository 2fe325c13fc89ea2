"""Rule prepare_dataset: the name of a data set in, one file with its images and splits out."""

from typing import Any

from truehessian import datasets, stage


def main(*, dataset_out: str, settings: dict[str, Any]) -> None:
    datasets.save(dataset_out, datasets.fetch(**settings))


if __name__ == "__main__":
    stage.run(main, snakemake)
