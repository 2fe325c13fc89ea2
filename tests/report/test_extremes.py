import math

import pandas as pd
import pytest
from table_cases import NUM_EXAMPLES, spectra

from truehessian.report.tables import extremes


@pytest.fixture
def extremal():
    return extremes.extremal_ritz_values([*spectra(3), *spectra(0)])


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


def test_the_first_five_folds_are_drawn_whatever_their_number(extremal):
    batches = extremal[(extremal["batch_size"] == 10) & (extremal["operator"] == "hessian")]
    more = [batches.assign(fold=batches["fold"] + 5 * lap) for lap in range(4)]
    others = extremal[extremal["fold"].isna()]
    drawn = extremes.first_folds(pd.concat([*more, others]))
    assert set(drawn["fold"].dropna()) == {0, 1, 2, 3, 4}
    assert len(drawn) == len(batches) + len(others)


def test_no_spectra_give_an_empty_table_with_all_columns():
    empty = extremes.extremal_ritz_values([])
    assert empty.empty
    assert list(empty.columns) == [*extremes.EXTREMAL_KEYS, "value", "residual", "steps"]


def test_written_tables_hold_full_precision_or_six_digits(tmp_path, extremal):
    extremal.loc[0, "value"] = math.pi * 1e-7
    paths = [tmp_path / f"table.{suffix}" for suffix in ("csv", "tex", "md")]
    extremes.write(extremal, *paths, caption="Extremal Ritz values.")
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
    extremes.write(pd.DataFrame({"num_parameters": [15_291_300], "value": [1.0]}), *paths)
    assert "15291300 & 1 " in paths[1].read_text()
    assert "caption" not in paths[1].read_text()
    assert paths[2].read_text().startswith("| num_parameters")
    assert "15291300" in paths[2].read_text()
