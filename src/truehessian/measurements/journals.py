"""Journals of recurrences that one process or several run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from truehessian.operators import Operator
from truehessian.operators.ranks import Ranks
from truehessian.spectra.recurrence import Journal, Recurrence


def of_operator(operator: Operator, folders: Sequence[Path], mark: str) -> list[Journal]:
    """Make a journal in each folder, for recurrences of one operator.

    Parameters
    ----------
    operator
        Where its matrix is shared among processes, all of them read and the first one writes.
    folders
        One for each recurrence.
    mark
        Tells the matrix from others.
    """
    ranks: Ranks | None = getattr(operator, "ranks", None)
    if ranks is None:
        return [Journal(folder, matrix=mark) for folder in folders]
    return [SharedJournal(folder, ranks, matrix=mark) for folder in folders]


class SharedJournal(Journal):
    """The journal of a recurrence that several processes run alike, each on its own memory.

    Parameters
    ----------
    folder, **settings
        As of `Journal`; all processes see the same folder.
    ranks
        The processes. Others than the first leave the folder as it is.
    """

    def __init__(self, folder: Path, ranks: Ranks, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self._ranks = ranks

    def record(self, recurrence: Recurrence, *, force: bool = False) -> None:
        """Write what is new, if this is the first process."""
        if self._ranks.number == 0:
            super().record(recurrence, force=force)

    def resume(self, recurrence: Recurrence) -> None:
        """Bring a fresh recurrence to where the parts on disk end, which is the same for all.

        Raises
        ------
        ValueError
            As of `Journal`, or the processes do not see the same parts.
        """
        super().resume(recurrence)
        steps = self._ranks.gathered(recurrence.steps)  # and nobody writes before all have read
        if len(set(steps)) > 1:
            raise ValueError(
                f"the processes find {steps} Lanczos steps in {self.folder}; it has to be on a "
                "file system that all of them see"
            )

    def _tidy(self) -> None:
        if self._ranks.number == 0:
            super()._tidy()
