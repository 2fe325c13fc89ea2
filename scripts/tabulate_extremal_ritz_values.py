"""Rule tabulate_extremal_ritz_values: all spectra of a run in, two tables out."""

from truehessian import spectrum, stage, tables


def main(spectra: list[str], *, extremal_out: list[str], shrinkage_out: list[str]) -> None:
    extremal = tables.extremal_ritz_values(spectrum.load(path) for path in spectra)
    tables.write(extremal, *extremal_out, caption="Extremal Ritz values")
    tables.write(
        tables.shrinkage(extremal),
        *shrinkage_out,
        caption="Extremal Ritz values against the number of examples, with two laws",
    )


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
