"""Run a stage: look its key up, compute or restore, and let whole outputs appear at once."""

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from truehessian.pipeline.stage import key as keys, maintenance, origins, presence, store
from truehessian.pipeline.stage.fingerprint import fingerprint, module_digests
from truehessian.pipeline.stage.job import Job
from truehessian.pipeline.stage.log import logging_to

logger = logging.getLogger(__name__)


def run(main: Callable[..., None], snakemake: Any, *, stored: bool = True) -> None:
    """Run a script's `main` as a stage of the workflow.

    Parameters
    ----------
    main
        Takes inputs by name, outputs as ``NAME_out``, parameters by name, and optionally `state`,
        a folder for resume state that survives a kill.
    snakemake
        The object that Snakemake injects into a script.
    stored
        Whether results go into the store: for what is expensive, not for tables and figures.

    Raises
    ------
    SystemExit
        With status 1 after an error, which has gone to the log with its traceback and to the
        standard error in one sentence; with status 130 after an interruption from the keyboard.
    """
    job = Job.from_snakemake(snakemake, os.environ.get(presence.VARIABLE))
    with logging_to(job.log):
        try:
            _run(main, job, stored)
        except Exception as error:
            logger.exception("%s failed", job.script.stem)
            print(f"{job.script.stem}: {_sentence(error)}\n(log: {job.log})", file=sys.stderr)
            raise SystemExit(1) from error
        except KeyboardInterrupt:
            print(
                f"{job.script.stem}: interrupted; to go on, start snakemake again", file=sys.stderr
            )
            raise SystemExit(130) from None


def _run(main: Callable[..., None], job: Job, stored: bool) -> None:
    found = origins.of_job(job)
    if fingerprint(job.script, job.uses) != job.code or origins.have_changed(found, job):
        raise RuntimeError(
            "code or data were edited after the workflow had started, so this job would not be "
            "what it is recorded as; start snakemake again"
        )
    _set_threads(job.threads)
    if not stored:
        _compute(main, job)
        return
    key = _key(job, found)
    with store.exclusive(key) as writable:
        drafts = {name: _draft(path) for name, path in job.files().items()}
        if _restore(key, drafts):
            logger.info("restored from the store, key %s", key.digest)
        else:
            logger.info("computing, because %s (key %s)", _reason(key), key.digest)
            beside = _state_beside(job, key)
            in_store = [store.state_folder(key)] if writable and not beside.exists() else []
            _compute_with_state(main, job, drafts, [*in_store, beside])
            if writable:
                _keep(key, drafts)
        _publish(drafts, job)


def _sentence(error: Exception) -> str:
    """Say what went wrong, and what to do where the error does not know it."""
    reason = str(error) or type(error).__name__
    return reason + presence.remedy(error) if isinstance(error, OSError) else reason


def _compute(main: Callable[..., None], job: Job) -> None:
    drafts = {name: _draft(path) for name, path in job.files().items()}
    _compute_drafts(main, job, drafts, Path(os.devnull))
    _publish(drafts, job)


def _compute_drafts(
    main: Callable[..., None], job: Job, drafts: dict[str, Path], state: Path
) -> None:
    begin = time.perf_counter()
    with _removed_after_an_error(drafts):
        for draft in drafts.values():
            draft.parent.mkdir(parents=True, exist_ok=True)
        job.call(main, drafts, state)
        missing = [draft.name for draft in drafts.values() if not draft.is_file()]
        if missing:
            raise RuntimeError(f"the script has not written {', '.join(missing)}")
    logger.info("computed in %.1f s", time.perf_counter() - begin)


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


def _state_beside(job: Job, key: keys.Key) -> Path:
    """Where the resume state lies when it cannot lie in the store."""
    return min(job.files().values()).parent / f".state-{key.digest}"


def _restore(key: keys.Key, drafts: dict[str, Path]) -> bool:
    with _removed_after_an_error(drafts):
        return store.restore(key, drafts)


@contextmanager
def _removed_after_an_error(drafts: dict[str, Path]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for draft in drafts.values():
            shutil.rmtree(draft.parent, ignore_errors=True)
        raise


def _keep(key: keys.Key, drafts: dict[str, Path]) -> None:
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


def _draft(path: Path) -> Path:
    """Where an output is written before it is whole: same file system, same name."""
    # What a killed job has left. Nobody else writes this output: Snakemake sees to that.
    for stale in path.parent.glob(f".draft-*-{path.name}"):
        shutil.rmtree(stale, ignore_errors=True)
    return path.parent / f".draft-{os.getpid()}-{path.name}" / path.name


def _publish(drafts: dict[str, Path], job: Job) -> None:
    files = job.files()
    with _removed_after_an_error(drafts), presence.publishing(job.membership):
        for name, draft in drafts.items():
            draft.replace(files[name])
            draft.parent.rmdir()


def _reason(key: keys.Key) -> str:
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


def _key(job: Job, found: origins.Origins) -> keys.Key:
    inputs = {
        name: [keys.file_digest(path) for path in value]
        if isinstance(value, list)
        else keys.file_digest(value)
        for name, value in job.inputs.items()
    }
    return keys.make(
        job.script.stem,
        module_digests(job.script, job.uses),
        job.settings,
        inputs,
        **found._asdict(),
    )


def _set_threads(threads: int) -> None:
    """Keep PyTorch to the job's share of the machine."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
