"""What happens around a script's `main`: outputs, errors, the store, logs and resume state."""

import os
import re
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from truehessian.pipeline import stage
from truehessian.pipeline.config.inference import Theory
from truehessian.pipeline.stage import key as keys, origins, own_code, store
from truehessian.pipeline.stage.fingerprint import fingerprint
from truehessian.pipeline.stage.log import logging_to

TEXT = "def main(source, *, copy_out, parts_out, factor):\n    pass\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A store of our own."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Log(list):
    """Snakemake's list of log files."""


@pytest.fixture
def job(tmp_path):
    """What Snakemake injects: one input, one single output and one list of outputs."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/measure.py").write_text(TEXT)
    (tmp_path / "results").mkdir()
    (tmp_path / "source.txt").write_text("input")
    outputs = tmp_path / "results"
    return SimpleNamespace(
        params={"factor": 2, "code": fingerprint(tmp_path / "scripts/measure.py")},
        input={"source": str(tmp_path / "source.txt")},
        output={
            "copy": str(outputs / "copy.txt"),
            "parts": [str(outputs / "0.txt"), str(outputs / "1.txt")],
        },
        threads=1,
        log=Log([str(tmp_path / "logs/measure.log")]),
        scriptdir=str(tmp_path / "scripts"),
    )


class Main:
    """A script's `main` that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, source, *, copy_out, parts_out, factor, network=None, settings=None):
        self.calls += 1
        Path(copy_out).write_text(Path(source).read_text() * factor)
        for number, path in enumerate(parts_out):
            Path(path).write_text(str(number))


def results(tmp_path):
    return {path.name: path.read_text() for path in (tmp_path / "results").iterdir()}


WHOLE = {"copy.txt": "inputinput", "0.txt": "0", "1.txt": "1"}


def log_of(tmp_path):
    return (tmp_path / "logs/measure.log").read_text()


def test_outputs_get_the_names_and_contents_that_main_gave_them(job, tmp_path):
    stage.run(job, Main())
    assert results(tmp_path) == WHOLE


def test_outputs_appear_only_when_main_is_done(job, tmp_path):
    seen = []

    def main(source, *, copy_out, parts_out, factor):
        Main()(source, copy_out=copy_out, parts_out=parts_out, factor=factor)
        seen.extend(Path(path).name for path in (copy_out, *parts_out))
        assert not any((tmp_path / "results" / name).exists() for name in WHOLE)

    stage.run(job, main)
    assert seen == list(WHOLE)
    assert results(tmp_path) == WHOLE


def test_an_error_is_one_sentence_on_the_terminal_and_a_traceback_in_the_log(job, tmp_path, capsys):
    def main(source, *, copy_out, parts_out, factor):
        Path(copy_out).write_text("half")
        raise ValueError("the batch is too large")

    with pytest.raises(SystemExit) as caught:
        stage.run(job, main)
    assert caught.value.code == 1
    terminal = capsys.readouterr().err
    assert terminal == f"measure: the batch is too large\n(log: {job.log[0]})\n"
    assert "Traceback" in log_of(tmp_path)
    assert "ValueError: the batch is too large" in log_of(tmp_path)
    assert results(tmp_path) == {}
    assert list(store.entries()) == []


def test_an_error_without_words_is_named_by_its_type(job, capsys):
    def main(source, *, copy_out, parts_out, factor):
        raise MemoryError

    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert capsys.readouterr().err.startswith("measure: MemoryError\n")


def test_an_output_that_main_forgets_is_an_error_and_none_appears(job, tmp_path, capsys):
    def main(source, *, copy_out, parts_out, factor):
        Path(copy_out).write_text("written")
        Path(parts_out[0]).write_text("written")

    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert "the script has not written 1.txt" in capsys.readouterr().err
    assert results(tmp_path) == {}
    assert list(store.entries()) == []


def test_an_interruption_leaves_no_half_written_file(job, tmp_path, capsys):
    def main(source, *, copy_out, parts_out, factor):
        Path(copy_out).write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        stage.run(job, main)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "measure: interrupted; to go on, start snakemake again\n"
    assert results(tmp_path) == {}


def test_the_same_stage_is_restored_and_not_computed_again(job, tmp_path):
    main = Main()
    stage.run(job, main)
    assert "computing" in log_of(tmp_path)
    for path in (tmp_path / "results").iterdir():
        path.unlink()
    stage.run(job, main)
    assert main.calls == 1
    assert results(tmp_path) == WHOLE
    assert "restored from the store" in log_of(tmp_path)


def test_the_key_is_about_contents_not_places(job, tmp_path):
    main = Main()
    stage.run(job, main)
    (tmp_path / "elsewhere").mkdir()
    os.rename(tmp_path / "source.txt", tmp_path / "elsewhere/renamed.txt")
    job.input["source"] = str(tmp_path / "elsewhere/renamed.txt")
    job.output = {
        "copy": str(tmp_path / "elsewhere/copy.txt"),
        "parts": [str(tmp_path / f"elsewhere/{n}.txt") for n in "01"],
    }
    stage.run(job, main)
    assert main.calls == 1
    assert (tmp_path / "elsewhere/copy.txt").read_text() == "inputinput"


def change_input(job, tmp_path):
    (tmp_path / "source.txt").write_text("other")


def change_setting(job, tmp_path):
    job.params["factor"] = 3


def change_code(job, tmp_path):
    script = tmp_path / "scripts/measure.py"
    script.write_text(TEXT.replace("pass", "return"))
    job.params["code"] = fingerprint(script)


@pytest.mark.parametrize("change", [change_input, change_setting, change_code])
def test_other_inputs_settings_or_code_are_computed(job, tmp_path, change):
    main = Main()
    stage.run(job, main)
    change(job, tmp_path)
    stage.run(job, main)
    assert main.calls == 2


def environment(job):
    stage.run(job, Main())
    (found,) = store.entries()
    return found.manifest["parts"]["environment"]


def test_the_key_of_a_stage_without_packages_holds_neither_device_nor_version(job):
    job.params["settings"] = {"device": "cpu"}
    assert environment(job) == {}


def test_a_stage_without_pytorch_counts_by_all_packages_that_it_imports(job, tmp_path):
    script = tmp_path / "scripts/measure.py"
    script.write_text(f"import json, pandas.api.types, sklearn, no_such_package\n{TEXT}")
    job.params["code"] = fingerprint(script)
    found = {"pandas": metadata.version("pandas"), "sklearn": metadata.version("scikit-learn")}
    assert environment(job) == found


@pytest.mark.parametrize(
    ("settings", "device"), [(None, {}), ({}, {}), ({"device": "cuda:1"}, {"device": "cuda"})]
)
def test_the_class_of_device_counts_where_the_settings_name_a_device(
    job, tmp_path, settings, device
):
    import torch

    script = tmp_path / "scripts/measure.py"
    script.write_text(f"import torch\n{TEXT}")
    job.params |= {"code": fingerprint(script), "settings": settings}
    assert environment(job) == {"torch": torch.__version__.partition("+")[0], **device}


@pytest.fixture
def with_network(job, tmp_path, monkeypatch):
    """A job with a network of the user's own, which gets its width from another module."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/stage_net.py").write_text("import stage_layers\n")
    (tmp_path / "own/stage_layers.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    job.params["code"] += " stage_net:make"

    def read_the_workflow():
        job.params["own_code"] = own_code.of_paths(["stage_net:make"]).summary()

    read_the_workflow()
    return read_the_workflow


def restored_until(job, read_the_workflow, path, text):
    """Run a stage, run it again, which restores it, and run it after a file has changed."""
    main = Main()
    stage.run(job, main)
    stage.run(job, main)
    assert main.calls == 1
    path.write_text(text)
    read_the_workflow()
    stage.run(job, main)
    return main


def test_a_changed_helper_of_a_network_is_computed_and_named(job, tmp_path, with_network):
    main = restored_until(job, with_network, tmp_path / "own/stage_layers.py", "WIDTH = 8\n")
    assert main.calls == 2
    assert re.search(r"nearest stored result, \w+, in code of stage_layers \(key", log_of(tmp_path))


def test_packages_of_network_and_data_are_in_the_key_once(job, tmp_path, with_network):
    (tmp_path / "own/stage_layers.py").write_text("import numpy\nimport numpy.linalg, torch\n")
    with_network()
    job.params["settings"] = {"name": "digits"}
    job.params["data_sources"] = origins.of_data(job.params["settings"])
    stage.run(job, Main())
    (found,) = store.entries()
    assert set(found.manifest["parts"]["packages"]) == {"numpy", "scikit-learn"}


@pytest.fixture
def with_data(job, tmp_path):
    """A job that reads data files of which nobody knows what should be in them."""
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte").write_text("old")
    job.params["settings"] = {"name": "mnist", "root": str(tmp_path / "data")}

    def read_the_workflow():
        job.params["data_sources"] = origins.of_data(job.params["settings"])

    read_the_workflow()
    return read_the_workflow


def test_replaced_data_are_computed_and_named(job, tmp_path, with_data):
    file = tmp_path / "data/MNIST/raw/t10k-labels-idx1-ubyte"
    main = restored_until(job, with_data, file, "new")
    assert main.calls == 2
    assert "in data file t10k-labels-idx1-ubyte (key" in log_of(tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "moved")
    job.params["settings"]["root"] = str(tmp_path / "moved")
    stage.run(job, main)
    assert main.calls == 2, "what is in the files counts, not where they lie"


def test_data_that_are_replaced_while_the_workflow_runs_are_refused(
    job, tmp_path, with_data, capsys
):
    (tmp_path / "data/MNIST/raw/t10k-labels-idx1-ubyte").write_text("new")
    main = Main()
    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert main.calls == 0
    assert "code or data were edited" in capsys.readouterr().err


def test_a_helper_that_changes_while_the_workflow_runs_is_refused(
    job, tmp_path, with_network, capsys
):
    (tmp_path / "own/stage_layers.py").write_text("WIDTH = 8\n")
    main = Main()
    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert main.calls == 0
    assert "code or data were edited after the workflow had started" in capsys.readouterr().err


def test_a_comment_in_the_script_computes_nothing_again(job, tmp_path):
    main = Main()
    stage.run(job, main)
    (tmp_path / "scripts/measure.py").write_text(f"# a comment\n{TEXT}")
    stage.run(job, main)
    assert main.calls == 1


def test_code_that_was_edited_since_the_workflow_was_read_is_refused(job, tmp_path, capsys):
    (tmp_path / "scripts/measure.py").write_text(TEXT.replace("pass", "return"))
    main = Main()
    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert main.calls == 0
    assert "start snakemake again" in capsys.readouterr().err
    assert results(tmp_path) == {}


def test_a_damaged_entry_is_computed_again(job, tmp_path, capsys):
    main = Main()
    stage.run(job, main)
    (found,) = store.entries()
    (found.path / "copy").write_text("damaged")
    stage.run(job, main)
    assert main.calls == 2
    assert results(tmp_path) == WHOLE
    assert "is damaged" in capsys.readouterr().err
    stage.run(job, main)
    assert main.calls == 2


def test_resume_state_outlives_an_error_and_goes_with_success(job, tmp_path):
    folders = []

    def main(source, *, copy_out, parts_out, factor, state):
        folders.append(state)
        state.mkdir(parents=True, exist_ok=True)
        if not (state / "progress").exists():
            (state / "progress").write_text("half")
            raise RuntimeError("killed")
        Main()(source, copy_out=copy_out, parts_out=parts_out, factor=factor)

    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert (folders[0] / "progress").read_text() == "half"
    stage.run(job, main)
    assert folders[0] == folders[1]
    assert not folders[0].exists()
    assert results(tmp_path) == WHOLE


def test_what_has_no_outputs_runs_each_time_and_leaves_the_store_alone(job, cache):
    seen = []
    job.output = {}
    for _ in range(2):
        stage.run(job, lambda source, factor: seen.append(factor))
    assert seen == [2, 2]
    assert not cache.exists()


def test_a_full_store_does_not_cost_the_result(job, tmp_path, monkeypatch, capsys):
    def full(key, outputs):
        raise OSError("no space left")

    monkeypatch.setattr(store, "save", full)
    stage.run(job, Main())
    assert results(tmp_path) == WHOLE
    warning = capsys.readouterr().err
    assert "not stored" in warning
    assert store.VARIABLE in warning


def test_a_disk_that_is_full_while_restoring_leaves_nothing(job, tmp_path, monkeypatch):
    stage.run(job, Main())
    for path in (tmp_path / "results").iterdir():
        path.unlink()

    def full(source, target):
        Path(target).write_text("half")
        raise OSError("no space left")

    monkeypatch.setattr(store.shutil, "copyfile", full)
    with pytest.raises(SystemExit):
        stage.run(job, Main())
    assert results(tmp_path) == {}


def test_warnings_and_records_go_to_the_log(tmp_path, recwarn):
    import logging
    import warnings

    with logging_to(tmp_path / "new/stage.log"):
        logging.getLogger("truehessian.networks.training").info("epoch 3")
        warnings.warn("careful", stacklevel=1)
    text = (tmp_path / "new/stage.log").read_text()
    assert "epoch 3" in text
    assert "careful" in text
    handlers = len(logging.getLogger().handlers)
    with logging_to(None):
        pass
    assert len(logging.getLogger().handlers) == handlers


def test_drafts_of_a_killed_job_are_cleared_away(tmp_path):
    from truehessian.pipeline.stage import drafts

    stale = tmp_path / ".draft-123-a.csv"
    stale.mkdir()
    (stale / "a.csv").write_text("half")
    other = tmp_path / ".draft-123-b.csv"
    other.mkdir()
    drafts._draft(tmp_path / "a.csv")
    assert not stale.exists()
    assert other.exists()


def test_results_of_an_earlier_version_are_said_to_be_old(job, tmp_path, monkeypatch):
    main = Main()
    with monkeypatch.context() as earlier:
        earlier.setattr(keys, "FORM", 1)
        stage.run(job, main)
    stage.run(job, main)
    assert main.calls == 2
    assert "results of this stage from an earlier version only" in log_of(tmp_path)


def test_settings_become_the_model_that_a_script_asks_for(job, tmp_path):
    seen = []

    def main(source, *, copy_out, parts_out, settings: Theory):
        seen.append(settings)
        for path in (copy_out, *parts_out):
            Path(path).write_text("")

    job.params = {**job.params, "settings": {"draws": 7, "seed": 1}}
    del job.params["factor"]
    stage.run(job, main)
    assert seen == [Theory(draws=7, seed=1)]


def test_settings_of_another_script_are_an_error(job, tmp_path, capsys):
    def main(source, *, copy_out, parts_out, settings: Theory):
        raise AssertionError

    job.params = {**job.params, "settings": {"steps": 7}}
    del job.params["factor"]
    with pytest.raises(SystemExit):
        stage.run(job, main)
    assert "steps" in capsys.readouterr().err
    assert not results(tmp_path)
