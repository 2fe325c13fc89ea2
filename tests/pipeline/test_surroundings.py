"""No test may leave the process other than it was: the guard in conftest sees to that."""

import os
import sys

import pytest
from conftest import left_as_it_was, surroundings


def new_variable(folder):
    os.environ["TRUEHESSIAN_LEFT"] = "1"


def other_variable(folder):
    os.environ["PATH"] += os.pathsep


def no_variable(folder):
    del os.environ["PATH"]


def other_folder(folder):
    os.chdir(folder)


def other_path(folder):
    sys.path.insert(0, str(folder))


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (new_variable, r"\$TRUEHESSIAN_LEFT"),
        (other_variable, r"\$PATH"),
        (no_variable, r"\$PATH"),
        (other_folder, "working directory"),
        (other_path, r"sys\.path"),
    ],
)
def test_what_is_left_changed_fails_the_test_and_is_put_back(act, named, tmp_path):
    before = surroundings()
    with pytest.raises(pytest.fail.Exception, match=f"left changed: {named}$"), left_as_it_was():
        act(tmp_path)
    assert surroundings() == before


def test_what_is_put_back_by_the_test_is_no_fault(tmp_path, monkeypatch):
    with left_as_it_was(), monkeypatch.context() as patch:
        patch.setenv("TRUEHESSIAN_LEFT", "1")
        patch.chdir(tmp_path)
        patch.syspath_prepend(str(tmp_path))
