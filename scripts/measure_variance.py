"""Rule measure_variance: a checkpoint, its data and Ritz vectors in, variances out."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from truehessian import measurement, operators, prediction, stage, variance


def main(
    checkpoint: str,
    dataset: str,
    vectors: str,
    *,
    variance_out: str,
    subspace_out: str,
    settings: dict[str, Any],
    network: dict[str, Any] | None,
    epoch: int,
) -> None:
    source = measurement.Source.load(checkpoint, dataset, settings, network)
    group_size, seed = settings["group_size"], settings["seed"]
    hessian = source.operator(
        operators.Hessian,
        measurement.shuffled(source.dataset.train, seed),
        chunk_size=group_size,
    )
    named, ritz, values = measurement.named_directions(measurement.load_extremal_vectors(vectors))
    random = variance.random_directions(hessian.num_params, settings["random_directions"], seed)
    estimate = variance.along_directions(hessian, torch.cat([random, ritz]))
    pd.DataFrame(
        {
            "direction": [f"random-{i + 1}" for i in range(len(random))] + named,
            "variance": estimate.variance.cpu(),
            "standard_error": estimate.standard_error.cpu(),
            "element_variance": estimate.variance.cpu() / hessian.num_params,
            "group_size": group_size,
            "num_examples": estimate.num_examples,
            "num_parameters": hessian.num_params,
        }
    ).to_csv(variance_out, index=False)
    own = slice(len(random), None)
    noise = prediction.subspace_noise(
        values,
        estimate.covariance[own, own].cpu().numpy(),
        estimate.projected[:, own, own].cpu().numpy(),
        group_size=group_size,
        num_examples=estimate.num_examples,
    )
    np.savez(subspace_out, epoch=epoch, **noise._asdict())


if __name__ == "__main__":
    stage.run(main, snakemake)
