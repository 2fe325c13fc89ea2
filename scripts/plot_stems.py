"""Rule plot_stems: the spectra of one checkpoint in, a stem plot of each out."""

from truehessian import plots, spectrum, stage
from truehessian.spectrum import Spectrum


def main(full: str, spectra: list[str], *, figures_out: list[str], formats: list[str]) -> None:
    whole = spectrum.load(full)
    reference = tuple(float(spectrum.extremal(whole, end)[0]) for end in ("smallest", "largest"))
    for number, path in enumerate(spectra):
        files = figures_out[number * len(formats) : (number + 1) * len(formats)]
        measured = spectrum.load(path)
        plots.save(
            plots.stem(
                measured.ritz_values,
                measured.weights,
                describe(measured),
                reference=None if path == full else reference,
            ),
            files,
        )


def describe(measured: Spectrum) -> str:
    facts = measured.metadata
    kind = f"{facts['num_examples']:,} examples"
    if facts.get("batch_size"):
        kind = f"batch of {facts['batch_size']:,}"
    if facts.get("factor"):
        kind = f"{facts['num_examples']:,} augmented images"
    return f"Hessian, {kind}, epoch {facts['epoch']}"


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
