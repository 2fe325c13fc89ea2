"""Products of the spectra of groups of parameters."""

import math
from typing import Protocol

from truehessian.measurements.costs.series import Series

# What the product of a block costs beside a whole one, by layers: it passes through those behind
# its own and leaves out their weights' gradients (docs/performance.md).
_SHARE = 1 / 3


class GroupSettings(Protocol):
    """Lanczos steps of each group, and start vectors."""

    steps: int
    probes: int


def group_spectra(how: GroupSettings, *, groups: int, train: int) -> Series:
    """Count products with the diagonal blocks, in those of the whole matrix that take as long.

    The first group may take as long as the whole matrix, each other one a third of that. The
    Lanczos vectors of all groups together are as long as one of the whole matrix.

    Parameters
    ----------
    how
        Settings of the spectra.
    groups
        Number of groups.
    train
        Training examples.
    """
    together = math.ceil(1 + (groups - 1) * _SHARE)
    recurrences = how.steps * how.probes
    return Series("groups", train, how.steps, how.probes, further=(together - 1) * recurrences)
