"""Rule tabulate_predictions: measurements of a run in, predictions and estimates out."""

import pandas as pd

from truehessian import estimate_tables, noise_tables, sampling_tables, spectrum, stage, tables
from truehessian import subspace as noises

_CAPTIONS = {
    "outliers": "Predicted and measured outliers of batch Hessians",
    "theory_vs_empirical": "Predicted and measured extremes of batch Hessians",
    "noise": "The noise of batch Hessians against a semicircle and a Marchenko-Pastur law",
    "noise_scaling": "Exponents of the noise in (1/B - 1/N)",
    "true_hessian": "Estimates of the true Hessian's extreme eigenvalues",
}


def main(
    extremal: str,
    variance: list[str],
    subspace: list[str],
    held_out: list[str],
    full: list[str],
    batches: list[str],
    overlaps: list[str],
    *,
    outliers_out: list[str],
    theory_out: list[str],
    noise_out: list[str],
    scaling_out: list[str],
    true_hessian_out: list[str],
    epochs: list[int],
    settings: dict[str, int],
) -> None:
    variances = tables.read_epochs(variance)
    spectra = [spectrum.load(path) for path in [*full, *batches]]
    outliers = sampling_tables.outliers(
        spectra,
        variances,
        dict(zip(epochs, map(noises.load, subspace), strict=True)),
        tables.read_epochs(overlaps) if overlaps else None,
        **settings,
    )
    noise = noise_tables.noise(spectra, variances)
    scaling = noise_tables.scaling(noise, spectra[0].metadata["num_examples"])
    estimates = estimate_tables.true_hessian(
        pd.read_csv(extremal), variances, tables.read_epochs(held_out)
    )
    theory = sampling_tables.theory_vs_empirical(outliers)
    frames = (outliers, theory, noise, scaling, estimates)
    targets = (outliers_out, theory_out, noise_out, scaling_out, true_hessian_out)
    for frame, (csv, tex, md), caption in zip(frames, targets, _CAPTIONS.values(), strict=True):
        tables.write(frame, csv, tex, md, caption=caption)


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
