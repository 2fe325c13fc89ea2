"""Nothing expensive is computed twice: every row of the table in docs/caching.md."""

import re

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


def test_a_module_of_a_network_is_seen_by_exactly_the_stages_that_it_decides(base, tmp_path):
    """By Snakemake too, so that no output is taken for one of the network as it is now."""
    clone = base.twin(tmp_path)
    clone.edit("own_parts/width.py", "2", "2  # channels")
    clone.edit("own_parts/unreached.py", "2", "3")
    assert clone.planned() == set()
    clone.edit("own_parts/width.py", "2", "3")
    assert clone.planned() == (EXPENSIVE - {"prepare_dataset"}) | CHEAP
