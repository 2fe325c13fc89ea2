"""Arrays of finished chunks of a measurement, for a run that was killed."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_MARK = "mark of the run"
Kind = TypeVar("Kind", bound=Any)  # a named tuple


class Chunks:
    """A folder with a file for each finished chunk.

    Parameters
    ----------
    folder
        Made when the first chunk is put there; None to keep nothing.
    mark
        What tells this run from others.
    """

    def __init__(self, folder: Path | None, mark: str) -> None:
        self._folder, self._mark = folder, mark

    def take(self, numbers: Sequence[int]) -> dict[str, NDArray] | None:
        """Take what a killed run has left of a chunk; None where that is nothing.

        Raises
        ------
        ValueError
            It belongs to another run.
        """
        if self._folder is None:
            return None
        arrays = _read(self._file(numbers))
        if arrays is None or _MARK not in arrays:
            return None
        if str(arrays.pop(_MARK)) != self._mark:
            raise ValueError(
                f"the state in {self._folder} was begun with another matrix or other settings; "
                "delete it to begin anew, or name another folder"
            )
        return arrays

    def put(self, numbers: Sequence[int], arrays: Mapping[str, NDArray]) -> None:
        """Leave a chunk; that it cannot be written costs the state, not the run."""
        if self._folder is None:
            return
        _write(self._file(numbers), {_MARK: np.array(self._mark), **arrays})

    def _file(self, numbers: Sequence[int]) -> Path:
        assert self._folder is not None
        return self._folder / f"examples-{numbers[0]}-{numbers[-1]}.npz"


def kept(path: Path | None, kind: type[Kind], measure: Callable[[], Kind]) -> Kind:
    """Measure named arrays, or take what a killed run has left of them in a file of its own.

    Parameters
    ----------
    path
        Of the file; None to keep nothing.
    kind
        Named tuple of arrays.
    measure
        Gives one.
    """
    arrays = None if path is None else _read(path)
    if arrays is not None and arrays.keys() == set(kind._fields):
        return kind(**arrays)
    found = measure()
    if path is not None:
        _write(path, found._asdict())
    return found


def _read(file: Path) -> dict[str, NDArray] | None:
    """Read the arrays of a file; None where there is none, or one that was cut off."""
    with (
        contextlib.suppress(OSError, ValueError, BadZipFile, EOFError),
        file.open("rb") as whole,
        np.load(whole, allow_pickle=False) as archive,
    ):
        return {name: archive[name] for name in archive.files}
    return None


def _write(file: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays at once; that it cannot be done costs the state, not the run."""
    draft = file.with_name(f".{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(draft, **arrays)
        draft.replace(file)
    except OSError as error:
        logger.warning("a finished chunk is not kept for a killed run: %s", error)
