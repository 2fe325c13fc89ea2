"""Nothing expensive is computed twice: every row of the table in docs/caching.md."""

import pytest
from rerun_rows import AT_CHOSEN_EPOCHS, EXPENSIVE, ROWS, SPECTRA, Clone, unexpected

QUICK = {
    "comment, docstring and formatting in every module",
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
    if row.change == "one more epoch to analyse":
        assert sum(stage in EXPENSIVE for stage in ran) == len(SPECTRA - AT_CHOSEN_EPOCHS)
