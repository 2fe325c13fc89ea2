"""Rule make_content: files of a run in, a figure or table of the report out."""

from typing import Any

import pandas as pd

from truehessian.report import plots
from truehessian.report.contents import CONTENTS
from truehessian.report.tables import extremes


def main(
    files: list[str],
    *,
    table_out: list[str],
    figures_out: list[str],
    name: str,
    names: list[str],
    cases: list[dict[str, Any]],
) -> None:
    content = CONTENTS.load(name)
    make = plots.styled(content.make)
    found = dict(zip(names, files, strict=True))
    per_figure = len(figures_out) // len(cases)
    data = []
    for number, case in enumerate(cases):
        made = make({key: [found[each] for each in case["inputs"][key]] for key in case["inputs"]})
        rows = made.data if made.table is None else made.table
        data.append(rows.assign(**case["numbers"]))
        targets = figures_out[number * per_figure : (number + 1) * per_figure]
        if targets:  # else it is a table only
            plots.save(made.figure, targets, made.data)
    if table_out:
        csv, tex, md = table_out
        extremes.write(pd.concat(data), csv, tex, md, caption=content.title)
