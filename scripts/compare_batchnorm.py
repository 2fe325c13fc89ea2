"""Rule compare_batchnorm: spectra by either kind of statistics in, a table and figures out."""

from truehessian.report import plots
from truehessian.report.tables import extremes, summary
from truehessian.spectra import spectrum


def main(
    running: list[str],
    batch: list[str],
    *,
    table_out: list[str],
    figures_out: list[str],
    formats: list[str],
) -> None:
    known = {item.metadata["epoch"]: item for item in map(spectrum.load, running)}
    measured = [spectrum.load(path) for path in batch]
    frame = summary.batchnorm(known.values(), measured)
    csv, tex, md = table_out
    extremes.write(frame, csv, tex, md, caption="Extremal Ritz values by mode of normalisation")
    for number, item in enumerate(measured):
        epoch, size = item.metadata["epoch"], item.metadata["chunk_size"]
        panels = {
            "running statistics": (known[epoch].ritz_values, known[epoch].weights),
            f"statistics of {size:,} examples": (item.ritz_values, item.weights),
        }
        figure = plots.stacked_stems(panels, f"Hessian by batch normalisation, epoch {epoch}")
        files = figures_out[number * len(formats) : (number + 1) * len(formats)]
        plots.save(figure, files, plots.stems_of(item))
