"""A further prediction: a line of the registry, and it shows up wherever predictions do."""

from pathlib import Path

import pytest
from table_cases import spectra, variance

from truehessian import report
from truehessian.report import captions, findings, page, plots
from truehessian.report.tables import sampling, summary
from truehessian.theory.predictions import PREDICTIONS
from truehessian.theory.predictions.base import QUANTILES

TEMPLATES = Path(__file__).parents[2] / "workflow/report"
COLUMNS = ["twice", "twice_low", "twice_high", "overlap_twice"]


@pytest.fixture
def outliers(monkeypatch):
    monkeypatch.setitem(PREDICTIONS._entries, "twice", "extra_entries:TWICE")
    return sampling.outliers(spectra(), variance())


def labels(figure):
    return {text.get_text() for legend in figure.legends for text in legend.get_texts()}


def test_every_entry_bears_the_name_of_its_line_and_says_what_it_assumes():
    for name, entry in PREDICTIONS.entries().items():
        assert entry.name == name
        assert entry.label
        assert entry.assumption
        assert (entry.overlap is None) == (not entry.overlap_rule)


def test_the_columns_of_the_first_predictions_are_a_contract():
    contract = len(sampling.OUTLIER_COLUMNS)
    assert sampling.outlier_columns()[:contract] == list(sampling.OUTLIER_COLUMNS)


def test_its_columns_come_behind_all_others_in_every_table(outliers, monkeypatch):
    assert (outliers["twice"] == 2 * outliers["full"]).all()
    assert (outliers["overlap_twice"] == 0.25).all()
    theory = sampling.theory_vs_empirical(outliers)
    assert list(theory.columns[-4:]) == COLUMNS
    assert summary.batch_predictions(theory, variance()).columns[-1] == "twice"
    further = [*COLUMNS[:3], *(f"twice_{name}" for name in QUANTILES), COLUMNS[3]]
    monkeypatch.delitem(PREDICTIONS._entries, "twice")
    assert list(outliers.columns) == [*sampling.outlier_columns(), *further]


def test_it_is_drawn_in_every_figure(outliers):
    theory = sampling.theory_vs_empirical(outliers)
    assert "doubling" in labels(plots.theory_vs_empirical(theory))
    assert "doubling" in labels(plots.overlaps(outliers))
    assert "doubling, drawn beforehand" in labels(plots.distributions(outliers))


def test_findings_and_captions_speak_of_it(outliers):
    theory = sampling.theory_vs_empirical(outliers)
    sentences = " ".join(findings.headlines({"theory_vs_empirical": theory}))
    assert "the doubling one for" in sentences
    assert "doubling by" in sentences
    run = report.RunReport("mine", {}, {}, {"theory_vs_empirical": theory})
    engine = page.environment(TEMPLATES)
    caption = captions.of_figure(engine, run, "theory_vs_empirical")
    assert "doubling takes every batch for twice as sharp." in caption
    assert "doubling: a quarter." in captions.of_figure(engine, run, "overlaps")


def test_tables_without_batches_have_its_columns_too(outliers):
    empty = sampling.outliers([], variance())
    assert list(empty.columns) == list(outliers.columns)
