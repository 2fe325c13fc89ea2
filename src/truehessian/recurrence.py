"""The state of a Lanczos recurrence, in memory and on disk, so that a killed run can go on."""

import contextlib
import logging
import time
from pathlib import Path

import torch
from torch import Tensor

from truehessian import tensorfile

logger = logging.getLogger(__name__)


class Recurrence:
    """What m steps have brought so far.

    Parameters
    ----------
    start
        Unit vector, shape (P,), float64.
    basis
        Room for the vectors of all steps, shape (num_steps, P). The recurrence runs where it lies.

    Attributes
    ----------
    basis
        Rows 0 .. `steps` - 1 are filled, shape (num_steps, P).
    diagonal, off_diagonal
        Entries of the Jacobi matrix, one per step.
    largest
        Largest norm of a product so far, the scale of a breakdown.
    current
        The next basis vector before rounding, shape (P,), float64.
    """

    def __init__(self, start: Tensor, basis: Tensor) -> None:
        self.basis = basis
        self.diagonal: list[float] = []
        self.off_diagonal: list[float] = []
        self.largest = 0.0
        self.current = start.to(basis.device)

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return len(self.diagonal)


class Journal:
    """Parts of a recurrence on disk, each written once under its final name, in a folder.

    Only what is new is written: the basis of a large network takes gigabytes. The same start,
    matrix and precision are the caller's responsibility, who keeps one folder for each.

    Parameters
    ----------
    folder
        Made when the first part is written.
    interval
        Seconds between two parts, at least. A run that is shorter writes nothing.
    """

    def __init__(self, folder: Path, interval: float = 30.0) -> None:
        self.folder = folder
        self.interval = interval
        self._written = 0
        self._last = time.monotonic()
        self._warned = False

    def record(self, recurrence: Recurrence, *, force: bool = False) -> None:
        """Write what is new, if the time has come; a full disk costs the state, not the run."""
        if not force and time.monotonic() - self._last < self.interval:
            return
        begin, end = self._written, recurrence.steps
        if begin == end:
            return
        numbers = [recurrence.diagonal, recurrence.off_diagonal, [recurrence.largest]]
        names = ("diagonal", "off_diagonal", "largest")
        tensors = {
            name: torch.tensor(values, dtype=torch.float64)
            for name, values in zip(names, numbers, strict=True)
        }
        tensors |= {"basis": recurrence.basis[begin:end], "current": recurrence.current}
        try:
            tensorfile.save(self.folder / f"{begin:06d}-{end:06d}.safetensors", tensors, {})
        except OSError as error:
            if not self._warned:
                logger.warning("the state is not saved, so a kill costs all the work: %s", error)
            self._warned = True
        else:
            self._written = end
        self._last = time.monotonic()

    def resume(self, recurrence: Recurrence) -> None:
        """Bring a fresh recurrence to where the parts on disk end; damaged parts are left out."""
        for path in sorted(self.folder.glob("*-*.safetensors")):
            begin, end = map(int, path.stem.split("-"))
            if begin != recurrence.steps or end > len(recurrence.basis):
                continue
            try:
                tensors, _ = tensorfile.load(path)
            except (ValueError, OSError) as error:
                logger.warning("%s; going on from step %d", error, begin)
                break
            recurrence.basis[begin:end] = tensors["basis"].to(recurrence.basis.device)
            recurrence.diagonal[:] = tensors["diagonal"].tolist()
            recurrence.off_diagonal[:] = tensors["off_diagonal"].tolist()
            recurrence.largest = tensors["largest"].item()
            recurrence.current = tensors["current"].to(recurrence.current.device)
        self._written = recurrence.steps
        for path in self.folder.glob("*-*.safetensors"):
            if int(path.stem.split("-")[1]) > self._written:
                with contextlib.suppress(OSError):
                    path.unlink()
        if recurrence.steps:
            logger.info("resumed after step %d from %s", recurrence.steps, self.folder)
