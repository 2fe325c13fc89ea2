"""What a place of checkpoints has to know."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """A place that holds one file of weights for each epoch.

    `where` is what the configuration says of it, with ``{epoch}`` in it unless there is but one.
    """

    def problems(self, where: str) -> Iterator[str]:
        """Say in sentences, before anything starts, what is wrong with `where`."""

    def file(self, where: str, epoch: int) -> str | None:
        """Name the file with the weights, which is watched; None where it has to be fetched."""

    def version(self, where: str, epoch: int) -> str:
        """Give what changes when weights that have to be fetched do, such as a digest."""

    def fetch(self, where: str, epoch: int, folder: Path) -> Path:
        """Bring a file with the weights into a folder, and say where it is; see `weights.read`."""
