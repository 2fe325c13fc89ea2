"""The table, the figure and the captions of groups of parameters."""

import math

import numpy as np
import pandas as pd
import pytest
from table_cases import make_spectrum

from truehessian.report import captions, page
from truehessian.report.contents import CONTENTS
from truehessian.report.run import RunReport
from truehessian.report.tables import groups
from truehessian.spectra import density, spectrum, stacks

FACTS = {"product_error": [0.0], "seconds": 0.0, "numbers": [0], "orthogonality": 0.0}


def block(values, size, **metadata):
    facts = {"num_parameters": size, "steps_done": [len(values)], **FACTS, **metadata}
    return make_spectrum([values], **facts)


def stack(epoch, parts, size):
    own = {name: block(values, count, epoch=epoch) for name, (values, count) in parts.items()}
    return stacks.stack_groups(own, size, 1.0)


PARTS = {"front": ([-1.0, 0.0, 4.0], 30), "head": ([0.5, 9.5], 2)}


@pytest.fixture
def frame():
    whole = block([-2.0, 0.0, 12.0], 32, epoch=5)
    ggn = block([0.0, 1.0, 12.0], 32, epoch=5, operator="ggn")
    return groups.groups([stack(5, PARTS, 32), stack(7, PARTS, 40)], [ggn, whole])


def test_each_group_has_a_row_with_its_extremes_and_its_trace(frame):
    assert tuple(frame.columns) == groups.COLUMNS
    assert frame["group"].tolist() == ["front", "head", "sum", "whole", "front", "head", "sum"]
    front, head = frame.iloc[0], frame.iloc[1]
    assert (front["largest"], front["smallest"], front["largest_residual"]) == (4.0, -1.0, 0.4)
    assert front["trace"] == pytest.approx(30 * 1.0)
    variance = np.var([-1.0, 0.0, 4.0]) / (1 - 2 / 32)  # unbiased, of the eigenvalues
    assert front["trace_standard_error"] == pytest.approx(30 * math.sqrt(2 * variance / 32))
    assert head["trace"] == pytest.approx(10.0)  # all its eigenvalues are known
    assert head["trace_standard_error"] == 0
    assert front["share_of_parameters"] == 30 / 32
    assert frame["share_of_trace"][:3].tolist() == pytest.approx([0.75, 0.25, 1.0])


def test_the_sum_of_the_traces_stands_beside_that_of_the_whole(frame):
    total, whole = frame.iloc[2], frame.iloc[3]
    assert total["trace"] == pytest.approx(40.0)
    assert total["trace_standard_error"] == pytest.approx(frame.iloc[0]["trace_standard_error"])
    assert (whole["largest"], whole["smallest"]) == (12.0, -2.0)
    assert whole["trace"] == pytest.approx(32 * 10 / 3)
    assert whole["share_of_trace"] == pytest.approx(whole["trace"] / 40)
    (row,) = groups.gap(frame).itertuples(index=False)
    error = math.hypot(total["trace_standard_error"], whole["trace_standard_error"])
    assert row == (5, total["trace"], whole["trace"], error)


def test_groups_that_leave_parameters_out_are_not_compared_with_the_whole(frame):
    """Nor have they shares of a trace that nobody has measured."""
    rows = frame[frame["epoch"] == 7]
    assert rows["share_of_parameters"].tolist() == [30 / 40, 2 / 40, 32 / 40]
    assert rows["share_of_trace"].isna().all()
    whole = block([-2.0, 0.0, 12.0], 40, epoch=7)
    again = groups.groups([stack(7, PARTS, 40)], [whole])
    assert again["share_of_trace"][0] == pytest.approx(30 / float(density.trace(whole).value))
    assert groups.gap(again).empty


def test_the_table_can_be_read_back(frame, tmp_path):
    frame.to_csv(tmp_path / "groups.csv", index=False)
    again = pd.read_csv(tmp_path / "groups.csv")
    assert groups.gap(again).equals(groups.gap(frame))
    assert groups.only_groups(again)["group"].tolist() == ["front", "head"] * 2


def test_figure_and_captions_say_what_the_files_hold(tmp_path):
    files = {"groups": [], "full": [], "ggn": []}
    for name, measured in (
        ("groups", stack(5, PARTS, 32)),
        ("full", block([-2.0, 0.0, 12.0], 32, epoch=5)),
        ("ggn", block([0.0, 1.0, 12.0], 32, epoch=5, operator="ggn")),
    ):
        path = tmp_path / f"{name}.npz"
        spectrum.save(path, measured)
        files[name].append(str(path))
    made = CONTENTS.load("groups").make(files)
    labels = [axes.get_ylabel() for axes in made.figure.axes]
    assert labels == ["largest\neigenvalue", "smallest\neigenvalue", "trace"]
    names = [tick.get_text() for tick in made.figure.axes[-1].get_xticklabels()]
    assert names == ["front", "head"]
    heights = made.figure.axes[0].containers[0].lines[0].get_ydata()
    assert list(heights) == [4.0, 9.5]

    run = RunReport("mine", {}, {}, {"groups": made.data})
    engine = page.environment(tmp_path)
    caption = captions.of_figure(engine, run, "groups")
    assert "at epoch 5 is 9.500, of head" in caption
    assert (
        "front has the largest trace: 75\N{NO-BREAK SPACE}% of all, with 94\N{NO-BREAK SPACE}% of"
        in caption
    )
    assert "add up to 40.00, the trace of the whole matrix was measured to be 106.7" in caption
    assert "standard errors of their difference" in captions.of_table(engine, run, "groups")
