"""Compute a stage that is not in the store, going on from what a killed one has left."""

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from truehessian.pipeline.stage import drafts as unfinished, followers, maintenance, store
from truehessian.pipeline.stage.job import COST, Job
from truehessian.pipeline.stage.key import Key

logger = logging.getLogger(__name__)


def compute(
    main: Callable[..., None], job: Job, drafts: dict[str, Path], key: Key, *, writable: bool
) -> None:
    """Call a script's `main`, and store what it has written.

    Parameters
    ----------
    main
        See `runner.run`.
    drafts
        Where to write each output.
    key
        Of the job; nobody else works on it.
    writable
        Whether the store can be written to.
    """
    beside = _state_beside(job, key)
    in_store = [store.state_folder(key)] if writable and not beside.exists() else []
    _compute_with_state(main, job, drafts, [*in_store, beside])
    if writable:
        _keep(key, drafts)


def reason(key: Key) -> str:
    """Say in a line why nothing stored serves."""
    try:
        found = maintenance.nearest(key.parts)
    except OSError as error:  # somebody removes the store at this moment
        return f"the store cannot be read ({error})"
    if found is None:
        if any(maintenance.of_stage(key.parts["stage"])):
            return (
                f"the store {store.root()} has results of this stage from an earlier version only, "
                "which made keys in another way; `truehessian cache prune --old` removes them"
            )
        return f"no result of this stage is in the store {store.root()}"
    entry, changes = found
    return f"it differs from the nearest stored result, {entry.key[:12]}, in {'; '.join(changes)}"


def _compute_drafts(
    main: Callable[..., None], job: Job, drafts: dict[str, Path], state: Path
) -> None:
    begin = time.perf_counter()
    with unfinished.removed_after_an_error(drafts):
        for draft in drafts.values():
            draft.parent.mkdir(parents=True, exist_ok=True)
        with followers.beside(job, state):
            job.call(main, drafts, state)
        seconds = time.perf_counter() - begin
        if COST in drafts:
            drafts[COST].write_text(f"seconds\tpeak_memory_mib\n{seconds:.3f}\t{_peak_memory()}\n")
        missing = [draft.name for draft in drafts.values() if not draft.is_file()]
        if missing:
            raise RuntimeError(f"the script has not written {', '.join(missing)}")
    logger.info("computed in %.1f s", seconds)


def _peak_memory() -> str:
    """Most memory that this process or one that it started has used, in MiB; empty if unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(each).ru_maxrss for each in who)
    return f"{peak / (2**20 if sys.platform == 'darwin' else 2**10):.1f}"


def _compute_with_state(
    main: Callable[..., None], job: Job, drafts: dict[str, Path], states: list[Path]
) -> None:
    """Compute with the resume state in the first folder; where that is the trouble, in the next.

    What is there moves along, unless some of it is missing: then nothing of it can be relied on.
    """
    first, *others = states
    try:
        _compute_drafts(main, job, drafts, first)
    except OSError as error:
        if not others or not store.concerns(error, first):
            raise
        logger.warning("%s; the resume state lies in %s from now on", error, others[0])
        if not isinstance(error, FileNotFoundError):
            _copy_whole(first, others[0])
        shutil.rmtree(first, ignore_errors=True)
        _compute_with_state(main, job, drafts, others)
    shutil.rmtree(first, ignore_errors=True)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder, if there is one; the copy appears at once."""
    if source.exists():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".draft-") as folder:
            shutil.copytree(source, Path(folder) / target.name).rename(target)


def _state_beside(job: Job, key: Key) -> Path:
    """Where the resume state lies when it cannot lie in the store."""
    files = [path for name, path in job.files().items() if name != COST]
    return min(files).parent / f".state-{key.digest}"


def _keep(key: Key, drafts: dict[str, Path]) -> None:
    """Store results; a full or read-only store must not cost the results themselves."""
    try:
        store.save(key, drafts)
    except OSError as error:
        logger.warning(
            "the result is not stored for later: %s; make room with `truehessian cache prune` or "
            "set %s to another folder",
            error,
            store.VARIABLE,
        )
