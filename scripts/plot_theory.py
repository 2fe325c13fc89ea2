"""Rule plot_theory: variances, predictions and estimates in, a figure of each out."""

import pandas as pd

from truehessian.pipeline import stage
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
    plots.save(plots.variance(extremes.read_epochs(variance)), variance_out)
    if theory_out:
        plots.save(plots.theory_vs_empirical(pd.read_csv(theory)), theory_out)
        plots.save(plots.distributions(pd.read_csv(outliers)), distributions_out)
        plots.save(plots.overlaps(pd.read_csv(outliers)), overlaps_out)
        first = spectrum.fold(spectrum.load(noise_spectra[0]), 0)
        nodes, weights = spectrum.nodes(first)
        frames = pd.read_csv(noise), pd.read_csv(scaling)
        plots.save(plots.noise(*frames, (nodes, weights)), noise_out)
    plots.save(plots.true_hessian(pd.read_csv(true_hessian)), true_hessian_out)


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
