"""Rule tabulate_predictions: measurements of a run in, predictions and estimates out."""

import pandas as pd

from truehessian import stage, tables
from truehessian import subspace as noises


def main(
    extremal: str,
    variance: list[str],
    subspace: list[str],
    held_out: list[str],
    *,
    theory_out: list[str],
    true_hessian_out: list[str],
    epochs: list[int],
    draws: int,
    seed: int,
) -> None:
    extremes = pd.read_csv(extremal)
    variances = tables.read_epochs(variance)
    theory = tables.theory_vs_empirical(
        extremes,
        variances,
        dict(zip(epochs, map(noises.load, subspace), strict=True)),
        draws=draws,
        seed=seed,
    )
    csv, tex, md = theory_out
    tables.write(theory, csv, tex, md, caption="Predicted and measured extremes of batch Hessians")
    estimates = tables.true_hessian(extremes, variances, tables.read_epochs(held_out))
    csv, tex, md = true_hessian_out
    tables.write(
        estimates, csv, tex, md, caption="Estimates of the true Hessian's extreme eigenvalues"
    )


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
