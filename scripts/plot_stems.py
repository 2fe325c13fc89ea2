"""Rule plot_stems: all spectra of a run in, a stem plot of each out."""

from truehessian.report import plots
from truehessian.report.tables import extremes as tables
from truehessian.spectra import spectrum
from truehessian.spectra.spectrum import ENDS, Spectrum


def main(
    full: list[str], spectra: list[str], *, figures_out: list[str], formats: list[str]
) -> None:
    extremes = {}
    for path in full:
        whole = spectrum.load(path)
        smallest, largest = sorted(float(spectrum.extremal(whole, end)[0]) for end in ENDS)
        extremes[whole.metadata["epoch"]] = (smallest, largest)
    for number, path in enumerate(spectra):
        measured = spectrum.load(path)
        stacked = measured.indices is not None
        alone = path in full or measured.metadata["operator"] == "noise"
        shown = slice(tables.FOLDS_DRAWN) if stacked else slice(None)
        figure = plots.stem(
            measured.ritz_values[shown],
            measured.weights[shown],
            title(measured),
            reference=None if alone else extremes[measured.metadata["epoch"]],
            reference_name="Hessian" if measured.metadata["operator"] == "ggn" else "full data",
            other_folds=stacked and len(measured.ritz_values) > 1,
        )
        files = figures_out[number * len(formats) : (number + 1) * len(formats)]
        plots.save(figure, files, plots.stems_of(measured))


def title(measured: Spectrum) -> str:
    facts = measured.metadata
    kind = f"Hessian, {facts['num_examples']:,} examples"
    if facts["operator"] == "ggn":
        kind = f"Gauss-Newton matrix, {facts['num_examples']:,} examples"
    elif facts["operator"] == "noise":
        kind = f"Noise of the Hessian, batch of {facts['batch_size']:,}"
    elif facts.get("batch_size"):
        kind = f"Hessian, batch of {facts['batch_size']:,}"
    elif facts.get("factor"):
        kind = f"Hessian, {facts['num_examples']:,} augmented images"
    return f"{kind}, epoch {facts['epoch']}"
