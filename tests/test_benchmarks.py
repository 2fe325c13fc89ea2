"""The benchmark at toy size, with whatever peers are installed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    compiled,
    folds,
    goals,
    products,
    report,
    restore,
    spectra,
    training,
    workloads,
)
from benchmarks.__main__ import _ON_REQUEST, SECTIONS, _parser  # noqa: E402
from benchmarks.peers import RUNNERS, TOOLS  # noqa: E402
from benchmarks.report import Section, Table  # noqa: E402
from benchmarks.settings import CPU, CUDA, QUICK, Settings  # noqa: E402
from benchmarks.timing import NotInstalledError, Timing, interleave  # noqa: E402
from benchmarks.tools import ByHand, Tool, TrueHessian  # noqa: E402
from benchmarks.workloads import artificial, gradient, reference_product  # noqa: E402

SETTINGS = Settings(QUICK, torch.device("cpu"), "float64", rounds=2)
(NETWORK,) = QUICK.networks.values()


class Twice(ByHand):
    name = "twice as much"

    def product(self, problem, *, keep):
        right = super().product(problem, keep=keep)
        return lambda vector: 2 * right(vector)


class Broken(Tool):
    name, distribution = "broken", None

    def product(self, problem, *, keep):
        raise RuntimeError("it does not work\nhere")


class Missing(ByHand):
    name, distribution = "missing", "no-such-distribution"


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--threads", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(output, name):
    return [line for line in output.splitlines() if line.startswith(f"| {name}")]


def test_the_command_prints_a_table_with_a_row_per_tool(tmp_path):
    file = tmp_path / "result.json"
    output = run("--sections", "product", "--rounds", "1", "--output", str(file))

    for tool in TOOLS:
        (row,) = rows_of(output, tool.name)
        try:
            tool.require()
        except NotInstalledError:
            assert "not installed" in row
    (row,) = rows_of(output, "truehessian")
    assert re.search(r"\| +\d[\d.]* \| ", row)
    assert torch.__version__ in output
    saved = json.loads(file.read_text())["sections"]["product"]
    assert len(saved["tables"]["PreResNet8"]["rows"]) == len(TOOLS)


@pytest.mark.slow
def test_every_section_prints_numbers_of_truehessian():
    output = run()

    assert "error:" not in output
    assert "another result" not in output
    assert output.count("### ") == len(SECTIONS) - len(_ON_REQUEST)
    assert len(rows_of(output, "truehessian")) == 9
    assert "restored to the same bits" in output


@pytest.mark.slow
def test_compiled_products_are_those_of_the_same_hessian_in_compiled_gradients():
    (table,) = compiled.products(SETTINGS).tables.values()
    rows = {name: values for name, *values in table.rows}
    assert rows.pop(compiled.GRADIENT)[0].startswith("1.00 (")
    ours = [name for name in rows if name.startswith("truehessian")]
    assert len(ours) == 2
    for name in [*ours, "gradient"]:
        ratio, rate, first, error = rows[name]
        assert float(ratio.split()[0]) > 0 < float(rate.replace(",", ""))
        assert float(first) > 0
        assert float(error) < 1e-9


def test_batches_in_one_graph_have_the_ritz_values_of_batches_by_themselves():
    problems = workloads.folds_of(SETTINGS, 3, 8)
    together = folds.run_together(problems, 12)
    alone = [TrueHessian().run(problem, 12).largest for problem in problems]
    assert together == pytest.approx(alone, rel=1e-8)
    assert len(set(together)) == 3


def test_the_table_of_batches_names_the_fastest_peer_that_is_there(monkeypatch):
    monkeypatch.setattr(folds, "RUNNERS", [TrueHessian(), Missing(), ByHand(), Broken()])
    (table,) = folds.in_one_graph(SETTINGS).tables.values()
    rows = {name: values for name, *values in table.rows}
    assert list(rows) == [folds.TOGETHER, folds.APART, f"{ByHand.name}, one by one"]
    assert rows[folds.APART][2] == rows[f"{ByHand.name}, one by one"][3] == "1.00×"


def test_small_networks_have_a_table_each_and_runs_find_the_same_ends():
    (table,) = spectra.small_networks(SETTINGS).tables.values()
    rows = {name: values for name, *values in table.rows}
    assert rows["two backward passes by hand"][-1].endswith("×")
    assert rows[TrueHessian().label][:2] == ["kept", "once or more, float64"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_the_time_of_processes_that_outlive_their_parents_is_counted():
    """The command starts a process that works for half a second and does not wait for it."""
    work = "import time\nwhile time.process_time() < 0.5: pass"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {work!r}])"
    command = [sys.executable, "-m", "benchmarks.restore", sys.executable, "-c", start]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    _, cpu_seconds = map(float, done.stdout.split())
    assert cpu_seconds > 0.5


@pytest.mark.parametrize("again", ["1", "2"])
def test_a_run_that_is_restored_with_other_bits_is_said_to_be(monkeypatch, again):
    """Runs are made up: each writes a number, and a log that no bit is asked of."""
    said, clock = iter(["1", *again * 4]), iter(range(9))

    def run(folder, experiment):
        assert experiment == QUICK.experiment
        assert (folder / "results").exists() == (folder / ".snakemake").exists()
        (folder / ".snakemake").mkdir(exist_ok=True)
        (folder / "results/logs").mkdir(exist_ok=True, parents=True)
        (folder / "results/number.txt").write_text(next(said))
        (folder / "results/logs/all.log").write_text(str(next(clock)))
        return restore.Cost(3.0, 2.0)

    monkeypatch.setattr(restore, "run", run)
    table = restore.runs(SETTINGS).tables["tiny"]
    assert [row[0] for row in table.rows] == ["computed", "restored", "nothing to be done"]
    assert table.rows[0] == ["computed", "3.00", "2.00"]
    notes = {"1": "1 files, restored to the same bits.", "2": "Other files than those computed: "}
    assert table.note.startswith(notes[again])


def test_every_goal_is_said_to_be_met_or_missed_or_why_it_is_not_known():
    cpu = Settings(CPU, torch.device("cpu"))
    for line in goals.lines({}, cpu):
        assert "not measured" in line
        assert "python -m benchmarks" in line
    columns = ["", "gradients", "samples/s"]
    tables = {
        "PreResNet110": Table(columns, [["truehessian 9", "2.30 (2.1 to 9)", "25.2"]]),
        "VGG16": Table(columns, [["truehessian 9", "2.56 (2.1 to 2.6)", "38.4"]]),
    }
    speed = Table(["", "seconds", "speed"], [["truehessian 9", "2.2", "1.25×"], ["other", "3"]])
    missing = speed._replace(rows=[*speed.rows, ["peer", "not installed"]])
    failed = Table(["", "gradients"], [["truehessian 9", "error: no"]])
    done = {
        "product": Section("", "", tables),
        "lanczos": Section("", "", {"": speed}),
        "kept": Section("", "", {"PreResNet110": failed}),
    }
    said = dict(line.split(": ", 1) for line in goals.lines(done, cpu) if "H100" not in line)
    assert said["product PreResNet110"] == "2.30 gradients, goal at most 2.30: met"
    assert said["product VGG16"] == "2.56 gradients, goal at most 2.55: missed"
    assert said["Lanczos of fixed length"] == "1.25× the best peer, goal at least 1.00: met"
    assert said["kept PreResNet110"] == "not measured, error: no"
    assert said["kept VGG16"] == "not measured, not at this size"
    (line,) = [
        line
        for line in goals.lines({"lanczos": Section("", "", {"": missing})}, cpu)
        if line.startswith("Lanczos")
    ]
    assert "peers are not installed" in line


def test_goals_name_sections_and_columns_that_there_are():
    settings = {"cpu": CPU, "cuda": CUDA}
    for goal in goals.GOALS:
        assert goal.section in SECTIONS
        if goal.table.startswith(("PreResNet", "VGG")):
            scale = settings[goal.device]
            assert goal.table in {**scale.networks, **scale.compiled}
    (table,) = products.full_data(SETTINGS).tables.values()
    columns = [goal.column for goal in goals.GOALS if goal.section == "product"]
    assert set(columns) <= set(table.columns)


def test_training_steps_are_timed_in_every_mode_that_the_device_has(monkeypatch):
    monkeypatch.delitem(training.MODES, "bf16, channels last, compiled")  # takes minutes
    (table,) = training.steps(SETTINGS).tables.values()
    rows = {name: values for name, *values in table.rows}
    assert list(rows) == list(training.MODES)
    assert rows.pop("tf32, channels last") == ["not measured: needs a GPU"]
    for rate, seconds, speed in rows.values():
        assert float(rate.replace(",", "")) > 0
        assert " to " in seconds
        assert speed.endswith("×")
    assert rows["float32"][2] == "1.00×"


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_multiplies_with_the_same_hessian(tool, keep):
    """Unless it averages over chunks of unequal sizes; here they are equal."""
    try:
        tool.require()
    except NotInstalledError:
        pytest.skip(f"{tool.name} is not installed")
    problem = artificial(SETTINGS, NETWORK, 6, chunk=6 if keep else 3)
    vector = problem.vector()
    expected = reference_product(problem, vector)

    product = tool.product(problem, keep=keep)
    for _ in range(2):
        torch.testing.assert_close(product(vector), expected, rtol=1e-8, atol=1e-10)


def test_the_gradient_and_the_reference_are_those_of_the_mean_over_unequal_chunks():
    problem = artificial(SETTINGS, NETWORK, 7, chunk=3)
    whole = problem.first(7)

    torch.testing.assert_close(gradient(problem), gradient(whole))
    vector, step = problem.vector(), 1e-6
    shifted = []
    for sign in (1, -1):
        moved = artificial(SETTINGS, NETWORK, 7, chunk=7)
        with torch.no_grad():
            flat = torch.nn.utils.parameters_to_vector(moved.model.parameters())
            torch.nn.utils.vector_to_parameters(
                flat + sign * step * vector, moved.model.parameters()
            )
        shifted.append(gradient(moved))
    difference = (shifted[0] - shifted[1]) / (2 * step)
    error = (reference_product(problem, vector) - difference).norm() / difference.norm()
    assert error < 1e-3


def test_another_result_an_error_and_a_missing_peer_are_said_and_not_timed():
    problem = artificial(SETTINGS, NETWORK, 4, chunk=2)
    tools = [TrueHessian(), Twice(), Broken(), Missing()]

    outcome = products.measure(problem, tools, False, SETTINGS)

    assert set(outcome.timings) == {products.GRADIENT, TrueHessian().label}
    assert outcome.failures == {
        "twice as much": "another result: it deviates by 1.0e+00",
        "broken": "error: RuntimeError: it does not work here",
        "missing": "not installed",
    }


def test_the_lanczos_run_by_hand_and_ours_find_the_same_ends():
    problem = artificial(SETTINGS, NETWORK, 6, chunk=6)

    ours, by_hand = TrueHessian().run(problem, 60), ByHand().run(problem, 60)

    assert by_hand.largest == pytest.approx(ours.largest, rel=1e-3)
    assert by_hand.smallest == pytest.approx(ours.smallest, rel=1e-3)


def test_rounds_are_interleaved():
    order = []
    actions = {name: lambda name=name: order.append(name) for name in "AB"}

    timings = interleave(actions, 3, torch.device("cpu"))

    assert order == list("ABABAB")
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]
    assert Timing([3.0, 1.0, 2.0]).median == 2.0


def test_tables_take_the_place_of_what_was_between_their_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x cpu -->\nold\n<!-- end x cpu -->\nb\n", encoding="utf-8")
    section = Section("T", "text", {"net": Table(["", "s"], [["tool", r"1 \1"], ["peer"]])})

    for _ in range(2):
        report.update(page, {"x": section}, "here", "cpu")

    text = page.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- begin x cpu -->\ntext\n")
    assert text.endswith("here\n<!-- end x cpu -->\nb\n")
    assert "old" not in text
    assert text.count(r"1 \1") == 1
    with pytest.raises(ValueError, match="begin y cpu"):
        report.update(page, {"y": section}, "here", "cpu")


def test_the_documentation_has_a_place_for_every_section_and_its_commands_are_understood():
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for device in ("cpu", "cuda"):
        for name in SECTIONS:
            assert re.search(
                f"<!-- begin {name} {device} -->.*<!-- end {name} {device} -->", text, re.S
            )
    for arguments in re.findall(r"python -m benchmarks([^`\n]*)", text):
        _parser().parse_args(arguments.split())


def test_every_peer_is_pinned_and_chunks_divide_the_examples():
    pinned = (ROOT / "benchmarks" / "requirements.txt").read_text(encoding="utf-8")

    for tool in RUNNERS:
        if tool.distribution not in (None, "truehessian"):
            assert f"{tool.distribution}==" in pinned
    for scale in (CPU, CUDA, QUICK):
        assert scale.examples % scale.chunk == 0
