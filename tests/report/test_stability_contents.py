"""Tables, figures and captions of curvature along gradients and of leading subspaces."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from truehessian import tensorfile
from truehessian.measurements import sharpness
from truehessian.report import captions, page
from truehessian.report.contents import CONTENTS, subspace_overlaps as subspaces
from truehessian.report.run import RunReport

ENGINE = page.environment(Path(__file__).parents[2] / "workflow/report")


def along(scale):
    rows = np.arange(1.0, 13.0).reshape(4, 3)
    return sharpness.AlongGradients(*(scale * row for row in rows))


@pytest.fixture
def made(tmp_path):
    """The content's own table and figure, of two epochs."""
    paths = []
    for epoch, rate in ((5, 0.1), (0, 0.2)):
        facts = sharpness.facts_of_steps(rate, 0.9)
        facts |= {"largest": 3.0 + epoch, "dimension": 5, "chance": 0.01}
        frame = sharpness.table({None: along(1.0), 64: along(2.0), 16: along(3.0)}, facts)
        paths.append(str(tmp_path / f"{epoch}.csv"))
        frame.to_csv(paths[-1], index=False)
    return CONTENTS.load("sharpness").make({"sharpness": paths})


def test_the_table_has_all_epochs_and_sizes_in_order(made):
    frame = made.data
    assert tuple(frame.columns) == ("epoch", *sharpness.COLUMNS)
    assert frame["epoch"].tolist() == [0, 0, 0, 5, 5, 5]
    assert frame["batch_size"].tolist() == [pd.NA, 16, 64] * 2
    assert frame["limit"].tolist() == pytest.approx([10] * 3 + [20] * 3)


def test_the_figure_has_a_line_for_each_size_and_each_limit(made):
    (axes,) = made.figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert {"batch sharpness, B = 16", "batch sharpness, B = 64"} <= set(labels)
    assert {"2/η", "2(1 − β)/η", "2(1 + β)/η", "largest eigenvalue, all data"} <= set(labels)
    assert not any("Adam" in label for label in labels)


def test_the_geometry_of_adam_is_drawn_where_it_was_measured(made):
    from truehessian.report.plots import sharpness as plots

    frame = made.data.assign(preconditioned=30.0, preconditioned_limit=38.0)
    (axes,) = plots.sharpness(frame).axes
    assert "limit of Adam" in axes.get_legend_handles_labels()[1]
    unknown = made.data.assign(limit=np.nan, limit_small_batches=np.nan, limit_large_batches=np.nan)
    (axes,) = plots.sharpness(unknown).axes
    assert not any("η" in label for label in axes.get_legend_handles_labels()[1])


def report(**tables):
    return RunReport("mine", {}, {}, tables)


def test_captions_state_the_last_epoch(made, tmp_path):
    path = tmp_path / "sharpness.csv"
    made.data.to_csv(path, index=False)
    text = captions.of_figure(ENGINE, report(sharpness=pd.read_csv(path)), "sharpness")
    assert "At epoch 5" in text
    assert "in batches of 16" in text
    assert "largest eigenvalue is 8" in text
    assert "The limit for small batches is 2.00, without noise 38.0" in text
    assert "Curvature along gradients" in captions.of_figure(ENGINE, report(), "sharpness")


@pytest.fixture
def vectors(tmp_path):
    """Files of two epochs: their top vectors share one of two, their bottom ones are the same."""
    unit = torch.eye(10)
    tops = {3: unit[[0, 1]], 20: unit[[0, 2]]}
    files = {}
    for epoch, top in tops.items():
        files[epoch] = str(tmp_path / f"{epoch}/full.vectors.safetensors")
        tensorfile.save(files[epoch], {"top": top, "bottom": unit[[8, 9]]}, {})
    return files


def test_overlaps_are_those_of_all_pairs_of_epochs(vectors):
    frame = subspaces.table(vectors)
    assert tuple(frame.columns) == subspaces.COLUMNS
    found = frame.set_index(["end", "epoch", "other_epoch"])["overlap"].to_dict()
    assert found == {
        ("top", 3, 3): 1, ("top", 3, 20): 0.5, ("top", 20, 20): 1,
        ("bottom", 3, 3): 1, ("bottom", 3, 20): 1, ("bottom", 20, 20): 1,
    }  # fmt: skip
    assert (frame["chance"] == 0.2).all()
    assert (frame["dimension"] == 2).all()


def test_overlaps_are_drawn_and_said(vectors):
    made = CONTENTS.load("subspace_overlaps").make({"vectors": list(vectors.values())})
    top, bottom, *_ = made.figure.axes
    np.testing.assert_allclose(top.images[0].get_array(), [[1, 0.5], [0.5, 1]])
    assert bottom.get_title() == "2 smallest eigenvalues"
    run = report(subspace_overlaps=made.data)
    text = captions.of_figure(ENGINE, run, "subspace_overlaps")
    assert "is 0.50 between epochs 3 and 20" in text
    alone = subspaces.table({3: vectors[3]})
    assert alone["overlap"].tolist() == [1, 1]
    run = report(subspace_overlaps=alone)
    assert "epochs" in captions.of_figure(ENGINE, run, "subspace_overlaps")


def test_of_fewer_vectors_as_many_of_both_are_compared(vectors, tmp_path):
    unit = torch.eye(10)
    path = str(tmp_path / "30/full.vectors.safetensors")
    tensorfile.save(path, {"top": unit[[0]], "bottom": unit[[9]]}, {})
    frame = subspaces.table({3: vectors[3], 30: path}).set_index(["end", "epoch", "other_epoch"])
    assert frame.loc[("top", 3, 30), "overlap"] == 1
    assert frame.loc[("bottom", 3, 30), "overlap"] == 0
    assert frame.loc[("top", 3, 30), "dimension"] == 1
