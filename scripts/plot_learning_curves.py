"""Rule plot_learning_curves: a table in, a figure out."""

import pandas as pd

from truehessian.pipeline import stage
from truehessian.report import plots


def main(training: str, *, figure_out: list[str]) -> None:
    plots.save(plots.learning_curves(pd.read_csv(training)), figure_out)


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
