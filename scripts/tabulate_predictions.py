"""Rule tabulate_predictions: measurements of a run in, predictions and estimates out."""

from collections.abc import Sequence

import pandas as pd

from truehessian.pipeline.config.inference import Theory
from truehessian.report.tables import extremes, noise as noise_tables, sampling, truth
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import Spectrum
from truehessian.theory.predictions import examples, noise as noises

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
    adaptive: list[str],
    parts: list[str],
    test: list[str],
    *,
    outliers_out: list[str],
    theory_out: list[str],
    noise_out: list[str],
    scaling_out: list[str],
    true_hessian_out: list[str],
    epochs: list[int],
    settings: Theory,
) -> None:
    variances = extremes.read_epochs(variance)
    spectra = [spectrum.load(path) for path in [*full, *batches]]
    noise = _by_epoch(epochs, subspace)
    outliers = sampling.outliers(
        spectra,
        variances,
        noise,
        extremes.read_epochs(overlaps) if overlaps else None,
        adaptive=_by_epoch(epochs, adaptive),
        parts=examples.load_epochs(parts),
        **settings.model_dump(),
    )
    known = pd.read_csv(extremal), variances, extremes.read_epochs(held_out)
    decay = spectra[0].metadata["weight_decay"]
    estimates = truth.true_hessian(*known, decay, noise, map(spectrum.load, test))
    of_batches = (outliers, sampling.theory_vs_empirical(outliers), *_of_noise(spectra, variances))
    targets = (outliers_out, theory_out, noise_out, scaling_out, true_hessian_out)
    _write([*of_batches, estimates], targets)


def _of_noise(
    spectra: Sequence[Spectrum], variances: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    noise = noise_tables.noise(spectra, variances)
    return noise, noise_tables.scaling(noise, spectra[0].metadata["num_examples"])


def _write(frames: Sequence[pd.DataFrame], targets: Sequence[list[str]]) -> None:
    for frame, (csv, tex, md), caption in zip(frames, targets, _CAPTIONS.values(), strict=True):
        extremes.write(frame, csv, tex, md, caption=caption)


def _by_epoch(epochs: list[int], paths: list[str]) -> dict[int, noises.SubspaceNoise]:
    return dict(zip(epochs, map(noises.load, paths), strict=bool(paths)))
