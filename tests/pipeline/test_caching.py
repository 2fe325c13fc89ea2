"""Nothing expensive is computed twice: every row of the table in docs/caching.md."""

import re
import shutil
from pathlib import Path

import pytest
from rerun_rows import AT_CHOSEN_EPOCHS, CHEAP, EXPENSIVE, ROWS, SPECTRA, Clone, unexpected

HELPER = "a module that a network of one's own imports"
QUICK = {
    "comment, docstring and formatting in every module",
    "one more source of data, network, loss and operator",
    "prediction formula",
    "`rm -rf results .snakemake`",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Clone.make(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=[] if row.change in QUICK else pytest.mark.slow, id=row.change)
        for row in ROWS
    ],
)
def test_only_what_has_changed_runs(base, row, tmp_path):
    clone = base.twin(tmp_path)
    row.act(clone)
    ran = clone.bodies()
    assert unexpected(row, ran) == set()
    if row.expected & EXPENSIVE:
        assert set(ran) & SPECTRA, "the change has to be seen"
    if row.expected:
        assert ran, "the change has to be seen"
    else:
        assert "Nothing to be done" in clone.snakemake("--dry-run")
    if row.change == HELPER:
        assert {re.sub(r"_reduced$", "", name) for name in ran} == row.expected
    if row.change == "one more epoch to analyse":
        assert sum(stage in EXPENSIVE for stage in ran) == len(SPECTRA - AT_CHOSEN_EPOCHS)


WITNESS = """
import atexit, sys
from pathlib import Path

def tell():
    heavy = {name.partition(".")[0] for name in sys.modules} & {HEAVY}
    path = Path(__file__).with_name("seen") / sys.argv[0].rpartition("/")[2]
    path.write_text(" ".join(sorted(heavy)))

if sys.argv[0].endswith(".run_stage.py"):
    atexit.register(tell)
"""
HEAVY = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "pydantic", "sklearn"}


def contents(folder: Path) -> dict[str, bytes]:
    """All results, but for logs."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_everything_is_restored_to_the_same_bits_and_no_job_imports_what_computes(base, tmp_path):
    clone = base.twin(tmp_path)
    before = contents(clone.folder / "results")
    shutil.rmtree(clone.folder / "results")
    shutil.rmtree(clone.folder / ".snakemake")
    (tmp_path / "witness/seen").mkdir(parents=True)
    text = WITNESS.replace("{HEAVY}", repr(HEAVY))
    (tmp_path / "witness/sitecustomize.py").write_text(text)
    clone.snakemake(path=str(tmp_path / "witness"))
    logs = [path.read_text() for path in clone.folder.glob("results/**/logs/**/*.log")]
    seen = [path.read_text() for path in (tmp_path / "witness/seen").iterdir()]
    assert seen == [""] * len(logs)
    assert all("restored from the store" in log and "computing" not in log for log in logs)
    assert contents(clone.folder / "results") == before
    assert "report.html" in before


def test_a_module_of_a_network_is_seen_by_exactly_the_stages_that_it_decides(base, tmp_path):
    """By Snakemake too, so that no output is taken for one of the network as it is now."""
    clone = base.twin(tmp_path)
    clone.edit("own_parts/width.py", "2", "2  # channels")
    clone.edit("own_parts/unreached.py", "2", "3")
    assert clone.planned() == set()
    clone.edit("own_parts/width.py", "2", "3")
    assert clone.planned() == (EXPENSIVE - {"prepare_dataset"}) | CHEAP
