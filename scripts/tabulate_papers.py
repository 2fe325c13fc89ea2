"""Rule tabulate_papers: tables of a run in, the same as papers print them out."""

from typing import Any

import pandas as pd

from truehessian.report.papers import confrontation, published as numbers
from truehessian.report.tables import extremes as tables, summary
from truehessian.spectra import spectrum


def main(
    extremal: str,
    theory: list[str],
    variance: list[str],
    full: list[str],
    published: str,
    *,
    papers_out: list[str],
    augmentation_out: list[str],
    predictions_out: list[str],
    dataset: str,
    model: dict[str, Any],
) -> None:
    extremes = pd.read_csv(extremal)
    predicted = pd.read_csv(theory[0]) if theory else None
    variances = tables.read_epochs(variance) if variance else None
    facts = spectrum.load(full[0]).metadata
    results = confrontation.Results(
        extremes,
        predicted,
        variances,
        facts["num_parameters"],
        facts["num_examples"],
        facts["weight_decay"],
    )
    frame = confrontation.beside_published(results, dataset, model, numbers.load(published))
    csv, tex, md = papers_out
    tables.write(frame, csv, tex, md, caption="Published numbers and those of this run")
    if augmentation_out:
        frame = summary.augmentation(extremes, variances, facts["weight_decay"])
        csv, tex, md = augmentation_out
        tables.write(frame, csv, tex, md, caption="Extremal Ritz values of augmented data")
    if predicted is not None and variances is not None:
        frame = summary.batch_predictions(predicted, variances)
        caption = "Extremes of batches, bound, predictions and element variance"
        csv, tex, md = predictions_out
        tables.write(frame, csv, tex, md, caption=caption)
