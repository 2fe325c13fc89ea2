"""The notebooks run from top to bottom, agree with theory, and hold nothing of the machine."""

import contextlib
import io
import json
import re
import socket
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
THEORY = FOLDER / "true_hessian_theory.ipynb"
FIGURES = 7


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_small_and_names_no_machine(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    prose = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"/(home|root|tmp|usr|Users|opt|mnt)/|[A-Z]:\\\\", prose)
    assert socket.gethostname() not in prose
    assert "Traceback" not in prose
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}  # no warnings


def test_theory_notebook_shows_its_figures():
    outputs = [output for cell in code_cells(THEORY) for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES


@pytest.fixture(scope="module")
def executed():
    """Names that the theory notebook defines, what it prints, and how many figures it draws."""
    previous, shown, printed = matplotlib.get_backend(), [], io.StringIO()
    matplotlib.use("Agg")
    namespace = {"__name__": "notebook"}

    def show():
        shown.extend(plt.get_fignums())
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")

    patch = pytest.MonkeyPatch()
    patch.setattr(plt, "show", show)
    with contextlib.redirect_stdout(printed), plt.rc_context():
        for cell in code_cells(THEORY):
            exec("".join(cell["source"]), namespace)
    patch.undo()
    matplotlib.use(previous)
    return namespace, printed.getvalue(), len(shown)


def test_theory_notebook_runs_and_draws_every_figure(executed):
    assert executed[2] == FIGURES


def test_theory_notebook_finds_its_laws_within_one_percent(executed):
    distances = re.findall(r"Kolmogorov distance .*: ([0-9.]+)", executed[1])
    assert len(distances) == 2
    assert all(float(distance) < 0.01 for distance in distances)


def test_theory_notebook_predicts_what_it_simulates(executed):
    names, printed, _ = executed
    law, spikes = names["law"], names["spikes"]
    np.testing.assert_allclose(names["places"].mean(0), law.outlier(spikes), atol=0.05)
    np.testing.assert_allclose(names["squared"].mean(0), law.overlap(spikes), atol=0.03)
    rows = re.findall(r"N = +\d+ +\S+ -> +(\S+) +\S+ -> +(\S+)", printed)
    largest, smallest = np.array(rows, dtype=float).T
    assert np.isnan(smallest[0])  # inside the noise
    np.testing.assert_allclose(largest, 6, atol=0.3)
    np.testing.assert_allclose(smallest[1:], -0.8, atol=0.15)
