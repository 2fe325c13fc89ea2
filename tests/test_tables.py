import io
import math

import numpy as np
import pandas as pd
import pytest

from truehessian import tables, true_hessian
from truehessian.spectrum import Spectrum

NUM_EXAMPLES, NUM_PARAMETERS = 200, 50


def make_spectrum(ritz_values, **metadata):
    """Ritz values of shape (probes, m), or (folds, probes, m); residuals are a tenth of them."""
    values = np.sort(np.array(ritz_values, dtype=float))
    common = {"operator": "hessian", "split": "train", "epoch": 0, "num_examples": NUM_EXAMPLES}
    return Spectrum(
        values,
        np.full_like(values, 1 / values.shape[-1]),
        np.abs(values) / 10,
        np.zeros_like(values),
        np.zeros_like(values[..., 1:]),
        common | {"batch_size": None, "factor": None, "steps": values.shape[-1]} | metadata,
    )


def spectra(epoch=0):
    generator = np.random.default_rng(epoch)
    yield make_spectrum([[-1.0, 0.2, 4.0], [-1.2, 0.1, 3.9]], epoch=epoch)
    for batch_size in (40, 10):
        scatter = generator.standard_normal((5, 1, 3)) / batch_size
        folds = np.array([-1.2 - 4 / batch_size, 0.0, 4 + 30 / batch_size]) + scatter
        yield make_spectrum(folds, epoch=epoch, num_examples=batch_size, batch_size=batch_size)
    yield make_spectrum([[-1.1, 0.1, 3.8]], epoch=epoch, num_examples=2000, factor=10)
    yield make_spectrum([[-9.0, 0.1, 9.0]], epoch=epoch, split="test", num_examples=77)
    yield make_spectrum([[[-9.0, 9.0]]] * 2, epoch=epoch, operator="noise", batch_size=10)
    yield make_spectrum([[0.0, 9.0]], epoch=epoch, operator="ggn")


def variance(epoch=0):
    frame = pd.DataFrame(
        {
            "direction": ["random-1", "random-2", "top-1", "top-2", "bottom-1", "bottom-2"],
            "variance": [1.0, 3.0, 60.0, 30.0, 10.0, 9.0],
        }
    )
    frame["standard_error"] = 0.1 * frame["variance"]
    frame["element_variance"] = frame["variance"] / NUM_PARAMETERS
    return frame.assign(
        epoch=epoch, group_size=5, num_examples=NUM_EXAMPLES, num_parameters=NUM_PARAMETERS
    )


@pytest.fixture
def extremal():
    return tables.extremal_ritz_values([*spectra(3), *spectra(0)])


def through_csv(frame):
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)))


def test_extreme_values_are_taken_over_probes_with_their_residuals(extremal):
    row = extremal[(extremal["epoch"] == 3) & (extremal["operator"] == "hessian")]
    row = row[(row["num_examples"] == NUM_EXAMPLES) & (row["split"] == "train")]
    assert row["end"].tolist() == ["largest", "smallest"]
    assert row["value"].tolist() == [4.0, -1.2]
    assert row["residual"].tolist() == pytest.approx([0.4, 0.12])
    assert row["steps"].tolist() == [3, 3]


def test_there_is_one_sorted_row_per_spectrum_fold_and_end(extremal):
    assert list(extremal.columns) == [
        "epoch", "operator", "split", "num_examples", "batch_size", "factor", "fold", "end",
        "value", "residual", "steps",
    ]  # fmt: skip
    assert len(extremal) == 2 * 2 * (1 + 2 * 5 + 1 + 1 + 2 + 1)
    keys = extremal.columns[:8].tolist()
    assert not extremal.duplicated(keys).any()
    assert extremal["epoch"].is_monotonic_increasing
    batch = extremal[(extremal["num_examples"] == 10) & (extremal["epoch"] == 0)]
    assert batch["fold"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert (extremal[["batch_size", "factor", "fold"]].dtypes == "Int64").all()
    assert (
        extremal.loc[extremal["operator"] == "ggn", ["batch_size", "factor"]].isna().all(axis=None)
    )


def test_no_spectra_give_an_empty_table_with_all_columns():
    empty = tables.extremal_ritz_values([])
    assert empty.empty
    assert list(tables.shrinkage(empty).columns) == list(tables.SHRINKAGE_COLUMNS)


def test_shrinkage_follows_the_training_hessian_over_all_sample_sizes(extremal):
    frame = tables.shrinkage(extremal)
    assert list(frame.columns) == list(tables.SHRINKAGE_COLUMNS)
    part = frame[(frame["epoch"] == 3) & (frame["end"] == "largest")]
    assert part["num_examples"].tolist() == [10, 40, 200, 2000]
    assert part["value"].tolist()[2:] == [4.0, 3.8]
    errors = 1 / np.sqrt(part["num_examples"] * [5, 5, 1, 1])
    fit = true_hessian.fit_shrinkage(part["num_examples"], part["value"], errors)
    assert fit.better == "inherent"
    for column in ("inherent_limit", "inherent_low", "vanishing_coefficient", "better"):
        assert part[column].tolist() == [getattr(fit, column)] * 4
    np.testing.assert_allclose(part["inherent_fit"], fit.inherent(part["num_examples"]))
    np.testing.assert_allclose(part["vanishing_fit"], fit.vanishing(part["num_examples"]))


def test_shrinkage_from_one_sample_size_fits_nothing():
    frame = tables.shrinkage(tables.extremal_ritz_values([make_spectrum([[-1.0, 2.0]])]))
    assert frame["value"].tolist() == [2.0, -1.0]
    assert frame["better"].tolist() == ["undecided"] * 2
    assert frame[["inherent_limit", "vanishing_fit"]].isna().all(axis=None)


@pytest.fixture
def held_out():
    return pd.DataFrame(
        {
            "epoch": [0, 0, 0],
            "end": ["smallest", "largest", "largest"],
            "rank": [1, 1, 2],
            "empirical": [-1.2, 4.0, 0.9],
            "held_out": [-1.0, 3.5, 0.2],
            "held_out_standard_error": [0.1, 0.1, 0.2],
            "num_examples": [77] * 3,
            "bracket_low": [-1.4, 3.3, math.nan],
            "bracket_high": [-0.9, 3.7, math.nan],
        }
    )


def test_true_hessian_sets_all_estimates_side_by_side(extremal, held_out):
    frame = tables.true_hessian(extremal, pd.concat([variance(0), variance(3)]), held_out)
    assert list(frame.columns) == [
        "epoch", "end", "rank", "empirical", "inverted_goe", "inverted_directional", "held_out",
        "held_out_standard_error", "z", "bracket_low", "bracket_high", "verdict",
    ]  # fmt: skip
    assert frame[["epoch", "end", "rank"]].values.tolist() == [
        [0, "largest", 1], [0, "largest", 2], [0, "smallest", 1],
        [3, "largest", 1], [3, "smallest", 1],
    ]  # fmt: skip
    top, second, bottom, later, _ = (row for _, row in frame.iterrows())
    assert top["inverted_goe"] == true_hessian.invert(4.0, 2.0, NUM_EXAMPLES)
    assert top["inverted_directional"] == true_hessian.invert(4.0, 60.0, NUM_EXAMPLES)
    assert second["inverted_directional"] == true_hessian.invert(0.9, 30.0, NUM_EXAMPLES)
    assert bottom["inverted_directional"] == true_hessian.invert(-1.2, 10.0, NUM_EXAMPLES)
    assert (top["bracket_low"], top["bracket_high"]) == (3.3, 3.7)
    assert math.isnan(second["bracket_low"])
    assert top["verdict"] == "positive curvature confirmed (z = 35.0)"
    assert second["z"] == pytest.approx(1.0)
    assert bottom["verdict"] == "negative curvature is inherent (z = -10.0)"
    assert (later["empirical"], later["verdict"]) == (4.0, "no held-out estimate")


def test_eigenvalue_inside_the_noise_is_left_missing(extremal, held_out):
    loud = variance(0).assign(variance=1e4)
    frame = tables.true_hessian(extremal, loud, held_out)
    assert frame[["inverted_goe", "inverted_directional"]].isna().all(axis=None)


def test_tables_read_back_from_csv_give_the_same_results(extremal, held_out):
    for build in (
        tables.shrinkage,
        lambda table: tables.true_hessian(table, variance(), through_csv(held_out)),
    ):
        pd.testing.assert_frame_equal(build(through_csv(extremal)), build(extremal))


def test_written_tables_hold_full_precision_or_six_digits(tmp_path, extremal):
    extremal.loc[0, "value"] = math.pi * 1e-7
    paths = [tmp_path / f"table.{suffix}" for suffix in ("csv", "tex", "md")]
    tables.write(extremal, *paths, caption="Extremal Ritz values.")
    csv, tex, md = (path.read_text() for path in paths)
    assert pd.read_csv(paths[0])["value"][0] == math.pi * 1e-7
    assert csv.splitlines()[0] == ",".join(extremal.columns)
    assert r"num\_examples" in tex
    assert r"\caption{Extremal Ritz values.}" in tex
    assert md.startswith("Extremal Ritz values.\n\n| epoch")
    for text in (tex, md):
        assert "3.14159e-07" in text
        assert "3.141592" not in text
        assert "nan" not in text.lower()
        assert "NA>" not in text
    assert len(md.splitlines()) == len(extremal) + 4


def test_integers_stay_integers_and_captions_may_be_left_out(tmp_path):
    paths = [tmp_path / f"table.{suffix}" for suffix in ("csv", "tex", "md")]
    tables.write(pd.DataFrame({"num_parameters": [15_291_300], "value": [1.0]}), *paths)
    assert "15291300 & 1 " in paths[1].read_text()
    assert "caption" not in paths[1].read_text()
    assert paths[2].read_text().startswith("| num_parameters")
    assert "15291300" in paths[2].read_text()
