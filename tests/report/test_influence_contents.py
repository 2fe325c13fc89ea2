"""The table, the figure and the caption of what weights owe to their examples."""

from pathlib import Path

import pandas as pd
import pytest
from table_cases import make_spectrum

from truehessian.measurements import left_out
from truehessian.report import captions, page
from truehessian.report.contents import CONTENTS
from truehessian.report.run import RunReport
from truehessian.spectra import spectrum

ENGINE = page.environment(Path(__file__).parents[2] / "workflow/report")


@pytest.fixture
def made(tmp_path):
    files = {"influence": [], "test": [], "evaluations": []}
    for epoch in (20, 5):
        row = dict.fromkeys(left_out.COLUMNS, 0.5) | {"training": 1.0, "leave_one_out": 2.0 + epoch}
        frame = pd.DataFrame([row | {"end": end} for end in ("largest", "smallest")])
        frame[list(left_out.COLUMNS)].to_csv(tmp_path / f"{epoch}.csv", index=False)
        files["influence"].append(str(tmp_path / f"{epoch}.csv"))
        for name in ("test", "evaluations"):
            (tmp_path / name / str(epoch)).mkdir(parents=True)
        path = tmp_path / f"test/{epoch}/test.npz"
        spectrum.save(path, make_spectrum([[-3.0, 0.0, 4.0 + epoch]], epoch=epoch, split="test"))
        files["test"].append(str(path))
        path = tmp_path / f"evaluations/{epoch}.csv"
        pd.DataFrame({"train_loss": [0.1], "test_loss": [0.7 + epoch]}).to_csv(path, index=False)
        files["evaluations"].append(str(path))
    return CONTENTS.load("influence").make(files)


def test_the_test_split_stands_beside_it(made):
    frame = made.data
    assert list(frame.columns) == ["epoch", *left_out.COLUMNS, "test", "test_residual", "test_loss"]
    assert frame["epoch"].tolist() == [5, 5, 20, 20]
    assert frame["test"].tolist() == [9.0, -3.0, 24.0, -3.0]
    assert frame["test_loss"].tolist() == [5.7, 5.7, 20.7, 20.7]


def test_it_is_drawn_and_said(made):
    largest, smallest, losses = made.figure.axes
    labels = largest.get_legend_handles_labels()[1]
    assert labels == ["training data", "each example left out", "test data"]
    assert [axes.get_ylabel() for axes in (smallest, losses)] == ["smallest eigenvalue", "loss"]
    run = RunReport("mine", {}, {}, {"influence": made.data})
    text = captions.of_figure(ENGINE, run, "influence")
    assert "At epoch 20 the largest eigenvalue is 1.00 in training, 22.0 with each" in text
    nothing = captions.of_figure(ENGINE, RunReport("mine", {}, {}, {}), "influence")
    assert "At epoch" not in nothing
