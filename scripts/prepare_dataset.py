"""Rule prepare_dataset: the name of a data set in, one file with its images and splits out."""

from truehessian.data import catalogue, dataset
from truehessian.pipeline.config.problem import Dataset


def main(*, dataset_out: str, settings: Dataset) -> None:
    dataset.save(dataset_out, catalogue.fetch(**settings.reading))
