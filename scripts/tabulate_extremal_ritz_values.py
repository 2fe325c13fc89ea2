"""Rule tabulate_extremal_ritz_values: all spectra of a run in, two tables out."""

from truehessian import estimate_tables, spectrum, stage, tables


def main(
    spectra: list[str],
    subsamples: list[str],
    *,
    extremal_out: list[str],
    shrinkage_out: list[str],
) -> None:
    extremal = tables.extremal_ritz_values(map(spectrum.load, spectra))
    csv, tex, md = extremal_out
    tables.write(extremal, csv, tex, md, caption="Extremal Ritz values")
    parts = tables.extremal_ritz_values(map(spectrum.load, subsamples))
    csv, tex, md = shrinkage_out
    tables.write(
        estimate_tables.shrinkage(extremal, parts),
        csv,
        tex,
        md,
        caption="Extremal Ritz values against the number of examples, with two laws",
    )


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
