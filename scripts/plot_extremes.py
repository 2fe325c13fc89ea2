"""Rule plot_extremes: tables of extremes in, box plots and shrinkage out."""

import pandas as pd

from truehessian.report import plots
from truehessian.report.tables import extremes
from truehessian.spectra.spectrum import ENDS


def main(
    extremal: str,
    shrinkage: str,
    *,
    boxplots_out: list[str],
    shrinkage_out: list[str],
    batch_sizes: list[int],
    formats: list[str],
) -> None:
    frame = extremes.first_folds(pd.read_csv(extremal))
    panels = [(size, end) for end in ENDS for size in batch_sizes]
    for number, (size, end) in enumerate(panels):
        files = boxplots_out[number * len(formats) : (number + 1) * len(formats)]
        plots.save(plots.boxplot(frame, size, end), files, plots.boxes_of(frame, size, end))
    laws = pd.read_csv(shrinkage)
    plots.save(plots.shrinkage(laws), shrinkage_out, laws)
