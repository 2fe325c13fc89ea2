"""Rule plot_shrinkage: a table in, a figure out."""

import pandas as pd

from truehessian import plots, stage


def main(shrinkage: str, *, figure_out: list[str]) -> None:
    plots.save(plots.shrinkage(pd.read_csv(shrinkage)), figure_out)


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
