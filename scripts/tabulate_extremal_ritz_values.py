"""Rule tabulate_extremal_ritz_values: all spectra of a run in, two tables out."""

from truehessian.report.tables import extremes, shrinkage
from truehessian.spectra import spectrum


def main(
    spectra: list[str],
    subsamples: list[str],
    *,
    extremal_out: list[str],
    shrinkage_out: list[str],
) -> None:
    measured = [spectrum.load(path) for path in spectra]
    extremal = extremes.extremal_ritz_values(measured)
    csv, tex, md = extremal_out
    extremes.write(extremal, csv, tex, md, caption="Extremal Ritz values")
    parts = extremes.extremal_ritz_values(map(spectrum.load, subsamples))
    csv, tex, md = shrinkage_out
    extremes.write(
        shrinkage.shrinkage(
            extremal, parts, max(each.metadata["weight_decay"] for each in measured)
        ),
        csv,
        tex,
        md,
        caption="Extremal Ritz values against the number of examples, with two laws",
    )
