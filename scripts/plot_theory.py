"""Rule plot_theory: variances, predictions and estimates in, a figure of each out."""

import pandas as pd

from truehessian.report import plots
from truehessian.report.tables import extremes
from truehessian.spectra import spectrum


def main(
    variance: list[str],
    theory: str,
    true_hessian: str,
    outliers: str,
    noise: str,
    scaling: str,
    noise_spectra: list[str],
    *,
    variance_out: list[str],
    theory_out: list[str],
    true_hessian_out: list[str],
    distributions_out: list[str],
    overlaps_out: list[str],
    noise_out: list[str],
) -> None:
    frame = extremes.read_epochs(variance)
    plots.save(plots.variance(frame), variance_out, frame)
    if theory_out:
        frame = pd.read_csv(theory)
        plots.save(plots.theory_vs_empirical(frame), theory_out, frame)
        frame = pd.read_csv(outliers)
        plots.save(plots.distributions(frame), distributions_out, frame)
        plots.save(plots.overlaps(frame), overlaps_out, frame)
        first = spectrum.fold(spectrum.load(noise_spectra[0]), 0)
        frame = pd.read_csv(noise)
        drawn = plots.noise(frame, pd.read_csv(scaling), spectrum.nodes(first))
        plots.save(drawn, noise_out, frame)
    frame = pd.read_csv(true_hessian)
    plots.save(plots.true_hessian(frame), true_hessian_out, frame)
