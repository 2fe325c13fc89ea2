"""How far predictions miss, over many runs, and whether they said so beforehand.

`python -m benchmarks.stated_errors results/validation-*` reads theory_vs_empirical.csv of these
runs, and puts the errors of all their epochs, batch sizes and ends into one table.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from truehessian.report.tables import errors

_NEGLIGIBLE = 1e-6  # shift, as a share of the largest eigenvalue: rounding in single precision


def gathered(folders: Sequence[str]) -> pd.DataFrame:
    """Read the extremes of all runs, without those that batches do not shift at all."""
    parts = []
    for folder in folders:
        frame = pd.read_csv(Path(folder) / "tables/theory_vs_empirical.csv")
        shift, size = (frame["batch_mean"] - frame["full"]).abs(), frame["full"].abs().max()
        parts.append(frame[shift > _NEGLIGIBLE * size])
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    print(errors.prediction_errors(gathered(sys.argv[1:])).round(2).to_string(index=False))
