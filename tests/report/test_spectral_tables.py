"""The table and figure of whole spectra: units, shifts, what is missing, and what is drawn."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from table_cases import NUM_EXAMPLES, make_spectrum, variance

from truehessian.report import RunReport, captions, findings, page, plots
from truehessian.report.contents import CONTENTS
from truehessian.report.tables import spectral, spectral_curves
from truehessian.spectra import spectrum
from truehessian.theory.batch_spectra import BATCH_SPECTRA

SIZES = (10, 40)


def measured(epoch=0, scale=1.0, shift=0.0, noise=True):
    """All the data, and six batches of each size that are wider; of order 50, found in full."""
    draw = np.random.default_rng(epoch)
    values = np.concatenate([np.linspace(-0.5, 0.5, 47), [2.0, 3.0, 5.0]])
    facts = {"num_parameters": 50, "epoch": epoch, "weight_decay": shift}
    yield make_spectrum([scale * values + shift], **facts)
    for size in SIZES:
        factors = 1 + 3 / size + 0.3 * draw.normal(size=(6, 1, 1)) / size
        folds = make_spectrum(
            scale * factors * values + shift, batch_size=size, **facts | {"num_examples": size}
        )
        yield folds._replace(residuals=np.zeros_like(folds.residuals))
        if noise:
            differences = scale * 3 / size * np.linspace(-1, 2, 50)[None, None]
            yield make_spectrum(differences, operator="noise", batch_size=size, **facts)


def table(**what):
    return spectral.spectral_distances(spectral.cases(measured(**what), variance()))


def test_every_case_has_a_row_for_each_prediction_that_can_be_made():
    frame = table()
    assert list(frame.columns) == list(spectral.COLUMNS)
    names = frame.groupby("batch_size")["prediction"].agg(list)
    assert names[40] == [name for name in BATCH_SPECTRA if name != "parts"]
    assert names[10] == [name for name in names[40] if name != "smaller_batches"]
    assert list(frame["prediction"][frame["chosen"]]) == ["full", "smaller_batches"]
    without = table(noise=False)
    assert not {"measured_noise", "marchenko_pastur"} & set(without["prediction"])
    assert (frame["floor"] > 0).all()


def test_the_full_spectrum_lies_as_far_off_as_the_batches_are_wider():
    """The batches are the full spectrum times factors: the distance is that of mean absolutes."""
    full, *batches = (s for s in measured() if s.metadata["operator"] == "hessian")
    frame = table().set_index(["batch_size", "prediction"])
    for stack in batches:
        row = frame.loc[(stack.metadata["batch_size"], "full")]
        values = stack.ritz_values[:, 0]
        factors = values[:, -1] / full.ritz_values[0, -1]
        away = (factors.mean() - 1) * np.abs(full.ritz_values).mean() / values.std()
        assert row["wasserstein"] == pytest.approx(away, rel=0.02)
        assert row["standard_deviation"] == pytest.approx(values.std())
        assert row["second_moment"] == pytest.approx((values**2).mean())
        edge = 3 * values.std()
        assert row["outliers"] == pytest.approx((np.abs(values) > edge).sum() / len(values))


def test_neither_the_unit_nor_a_weight_decay_changes_a_distance():
    frame = table()
    louder = variance().assign(variance=lambda rows: 100 * rows["variance"])
    scaled = spectral.spectral_distances(spectral.cases(measured(scale=10.0), louder))
    shifted = table(shift=0.25)
    for other in (scaled, shifted):
        for column in ("wasserstein", "kolmogorov", "outliers", "negative_mass", "floor"):
            np.testing.assert_allclose(other[column], frame[column], rtol=2e-2, atol=6e-3)
    np.testing.assert_allclose(scaled["second_moment"], 100 * frame["second_moment"])


def test_what_noise_adds_to_the_second_moment_is_that_of_random_directions():
    frame = table()
    rows = frame[frame["prediction"] == "semicircle"].set_index("batch_size")
    full = frame[frame["prediction"] == "full"].set_index("batch_size")["second_moment_predicted"]
    for size in SIZES:
        factor = (NUM_EXAMPLES - size) / (size * (NUM_EXAMPLES - 1))
        expected = full[size] + 2.0 * factor  # P σ² of `variance` is 2
        assert rows["second_moment_predicted"][size] == pytest.approx(expected, rel=0.02)


def test_curves_count_all_eigenvalues_and_densities_integrate_to_one():
    frame = spectral_curves.curves(spectral.cases(measured(), variance()))
    assert list(frame.columns) == list(spectral_curves.COLUMNS)
    for (_, curve), rows in frame.groupby(["batch_size", "curve"]):
        count = rows[rows["quantity"] == "count"]
        assert (count["standard_error"].notna() == (curve == "measured")).all()
        right = count[count["eigenvalue"] > 0]
        left = count[count["eigenvalue"] < 0]
        assert (np.diff(right["value"]) <= 1e-9).all()
        assert (np.diff(left["value"]) >= -1e-9).all()
        if curve in ("measured", "full"):
            assert right["value"].iloc[0] + left["value"].iloc[-1] == pytest.approx(50, abs=6)
        density = rows[rows["quantity"] == "density"]
        mass = np.trapezoid(density["value"], density["eigenvalue"])
        assert 0.85 < mass < 1.001


def test_table_and_figure_are_made_of_the_files_of_an_epoch(tmp_path):
    files = {"full": [], "batches": [], "noise": []}
    for each in measured(epoch=3):
        facts = each.metadata
        name = f"{facts['operator']}-{facts['batch_size']}"
        kind = "noise" if facts["operator"] == "noise" else "batches"
        kind = kind if facts["batch_size"] else "full"
        path = tmp_path / f"{name}.npz"
        spectrum.save(path, each)
        files[kind].append(str(path))
    variance().drop(columns="epoch").to_csv(tmp_path / "3.csv", index=False)
    content = CONTENTS.load("spectral_distances")
    files |= {"variance": [str(tmp_path / "3.csv")], "parts": []}
    made = plots.styled(content.make)(files)
    assert set(made.table["epoch"]) == {3}
    assert isinstance(made.data, pd.DataFrame)
    labels = {text.get_text() for text in made.figure.legends[0].get_texts()}
    entries = [entry for name, entry in BATCH_SPECTRA.entries().items() if name != "parts"]
    assert labels == {"measured", *(entry.label for entry in entries)}
    assert [axes.get_title(loc="left") for axes in made.figure.axes[:2]] == ["B = 10", "B = 40"]


def test_the_caption_says_what_each_prediction_assumes():
    engine = page.environment(Path(__file__).parents[2] / "workflow/report")
    caption = captions.of_figure(engine, RunReport("mine", {}, {}, {}), "spectral_distances-3")
    assert "epoch 3" in caption
    for entry in BATCH_SPECTRA.entries().values():
        assert f"<em>{entry.label}</em> {entry.assumption}" in caption


def test_findings_compare_the_chosen_prediction_with_none():
    rows = [("full", False, 0.2), ("semicircle", False, 1.6), ("smaller_batches", True, 0.05)]
    frame = pd.DataFrame(rows, columns=["prediction", "chosen", "wasserstein"]).assign(floor=0.04)
    (sentence,) = findings.headlines({"spectral_distances": frame})
    assert "by 0.20 with that of all the data" in sentence
    assert "by 1.6 with a semicircle added" in sentence
    assert "by 0.050 with the prediction that was chosen beforehand" in sentence
    assert "two halves of the batches are 0.040 apart" in sentence
    assert findings.headlines({"spectral_distances": frame[:0]}) == []


def test_the_code_of_every_prediction_has_a_part_in_the_key():
    assert CONTENTS.load("spectral_distances").uses == tuple(BATCH_SPECTRA.values())
    rule = Path(__file__).parents[2] / "workflow/rules/contents.smk"
    assert "*content.uses" in rule.read_text()
