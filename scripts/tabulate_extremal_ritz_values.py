"""Rule tabulate_extremal_ritz_values: all spectra of a run in, two tables out."""

from truehessian import spectrum, stage, tables


def main(spectra: list[str], *, extremal_out: list[str], shrinkage_out: list[str]) -> None:
    extremal = tables.extremal_ritz_values(spectrum.load(path) for path in spectra)
    csv, tex, md = extremal_out
    tables.write(extremal, csv, tex, md, caption="Extremal Ritz values")
    csv, tex, md = shrinkage_out
    tables.write(
        tables.shrinkage(extremal),
        csv,
        tex,
        md,
        caption="Extremal Ritz values against the number of examples, with two laws",
    )


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
