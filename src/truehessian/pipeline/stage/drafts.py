"""Outputs of a job before they are whole: they appear under their names all at once."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from truehessian.pipeline.stage import presence, store
from truehessian.pipeline.stage.job import Job
from truehessian.pipeline.stage.key import Key


def of(job: Job) -> dict[str, Path]:
    """Say where each output is written before it is whole, and clear away what dead jobs left."""
    return {name: _draft(path) for name, path in job.files().items()}


def _draft(path: Path) -> Path:
    """Find a place on the same file system, for a file of the same name."""
    # What a killed job has left. Nobody else writes this output: Snakemake sees to that.
    for stale in path.parent.glob(f".draft-*-{path.name}"):
        shutil.rmtree(stale, ignore_errors=True)
    return path.parent / f".draft-{os.getpid()}-{path.name}" / path.name


def restore(key: Key, drafts: dict[str, Path]) -> bool:
    """Copy what is stored under a key; whether there is something. Raises as `store.restore`."""
    with removed_after_an_error(drafts):
        return store.restore(key, drafts)


def publish(drafts: dict[str, Path], job: Job) -> None:
    """Let the outputs appear.

    Raises
    ------
    RuntimeError
        Another run has begun, see `presence`.
    """
    files = job.files()
    with removed_after_an_error(drafts), presence.publishing(job.membership):
        for name, draft in drafts.items():
            draft.replace(files[name])
            draft.parent.rmdir()


@contextmanager
def removed_after_an_error(drafts: dict[str, Path]) -> Iterator[None]:
    """Leave nothing half-written behind."""
    try:
        yield
    except BaseException:
        for draft in drafts.values():
            shutil.rmtree(draft.parent, ignore_errors=True)
        raise
