"""Processes that work on one matrix together, by torch.distributed."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

logger = logging.getLogger(__name__)

# Seconds after which a process that does not answer is taken for lost.
PATIENCE = 30 * 60


class LostRankError(RuntimeError):
    """A process of the group has ended, or does not answer."""


class Ranks:
    """A group of processes, each of which runs the same program on its share of the data.

    Attributes
    ----------
    number, count
        Which of the processes this is, from 0 on, and how many there are.
    """

    def __init__(self, group: Any | None = None) -> None:
        self._group = group
        self.number, self.count = dist.get_rank(group), dist.get_world_size(group)

    def sum(self, part: Tensor, error: Exception | None = None) -> Tensor:
        """Add up what all processes have, with the same bits for each.

        Parameters
        ----------
        part
            Of one shape, dtype and kind of device everywhere; overwritten.
        error
            Why this process has nothing to add.

        Raises
        ------
        RuntimeError
            Another process has nothing to add; the sentence is its own. With an `error` of this
            process, that one.
        LostRankError
            A process has ended.
        """
        # The number of failures goes along, so that a failure costs no message of its own.
        failures = part.new_full((1,), float(error is not None))
        buffer = torch.cat(
            [part.flatten() if error is None else torch.zeros_like(part).flatten(), failures]
        )
        with self._listening():
            dist.all_reduce(buffer, group=self._group)
        if buffer[-1] > 0:
            self._complain(error)
        return buffer[:-1].view(part.shape)

    def gathered(self, own: Any) -> list[Any]:
        """Collect an object of each process, by their numbers."""
        found: list[Any] = [None] * self.count
        with self._listening():
            dist.all_gather_object(found, own, group=self._group)
        return found

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.gathered(None)

    def _complain(self, error: Exception | None) -> None:
        said = self.gathered(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        number = next(number for number, words in enumerate(said) if words is not None)
        raise RuntimeError(f"rank {number} of {self.count} failed: {said[number]}")

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if "CUDA" in str(error) and "NCCL" not in str(error):
                raise
            raise LostRankError(
                f"rank {self.number} of {self.count} lost another one, which has ended or does not "
                "answer; its own message says why. Start again, with as many ranks or others: runs "
                "go on from their last saved state"
            ) from error


_joined: list[Ranks] = []  # the group that this process has joined, if any


def current() -> Ranks | None:
    """Give the group that this process has joined; None for one that works alone."""
    return _joined[0] if _joined else None


def is_first() -> bool:
    """Whether this process is the one that writes what all of them have: alone, or number 0."""
    return not _joined or _joined[0].number == 0


def of_environment(device: torch.device | str | None = None) -> Ranks | None:
    """Join the processes that were started together with this one; None for one by itself.

    They find each other by the variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which
    torchrun sets, and so does a stage of the workflow with several `processes`. The group lasts as
    long as the process; a second call gives the same one.

    Parameters
    ----------
    device
        Where sums are made: NCCL carries those of GPUs, gloo those of CPUs. By default a GPU
        wherever there is one.

    Raises
    ------
    LostRankError
        The others are not there.
    """
    if _joined or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return current()
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")).type
    if not dist.is_initialized():
        _initialise("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
        atexit.register(_leave)
    _joined.append(Ranks())
    logger.info("rank %d of %d", _joined[0].number, _joined[0].count)
    return _joined[0]


def _initialise(backend: str) -> None:
    try:
        dist.init_process_group(
            backend, init_method="env://", timeout=datetime.timedelta(seconds=PATIENCE)
        )
    except (RuntimeError, ValueError) as error:
        raise LostRankError(
            f"the {os.environ['WORLD_SIZE']} processes that WORLD_SIZE promises do not find each "
            f"other by MASTER_ADDR and MASTER_PORT ({error}); start them with torchrun"
        ) from error


def _leave() -> None:
    """End without a word, whatever has become of the others."""
    _joined.clear()
    with contextlib.suppress(Exception):
        dist.destroy_process_group()
