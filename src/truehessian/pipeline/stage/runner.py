"""Run a stage: look its key up, restore what is stored, and compute what is not.

Nothing that takes long to import is imported before it is known that something is to be computed.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from truehessian.pipeline.stage import (
    computing,
    drafts,
    hosted,
    key as keys,
    origins,
    presence,
    store,
)
from truehessian.pipeline.stage.fingerprint import fingerprint, imports, module_digests
from truehessian.pipeline.stage.job import Job
from truehessian.pipeline.stage.log import logging_to

logger = logging.getLogger(__name__)


def run(snakemake: Any, main: Callable[..., None] | None = None) -> None:
    """Run a job of the workflow as the stage that it belongs to.

    Parameters
    ----------
    snakemake
        The object that Snakemake injects into a script.
    main
        Takes inputs by name, outputs as ``NAME_out``, parameters by name, and optionally `state`,
        a folder for resume state that survives a kill. By default that of the stage's script, which
        is imported only if there is something to compute.

    Raises
    ------
    SystemExit
        With status 1 after an error, which has gone to the log with its traceback and to the
        standard error in one sentence; with status 130 after an interruption from the keyboard.
    """
    job = Job.from_snakemake(snakemake, os.environ.get(presence.VARIABLE))
    with logging_to(job.log, anew=not hosted.is_guest()):
        try:
            elsewhere = main is None and hosted.is_possible(job.membership)
            if not _run(job, main, may_compute=not elsewhere):
                _run_hosted(job)
        except Exception as error:
            logger.exception("%s failed", job.script.stem)
            print(f"{job.script.stem}: {_sentence(error)}\n(log: {job.log})", file=sys.stderr)
            raise SystemExit(1) from error
        except KeyboardInterrupt:
            print(
                f"{job.script.stem}: interrupted; to go on, start snakemake again", file=sys.stderr
            )
            raise SystemExit(130) from None


def _run_hosted(job: Job) -> None:
    """Compute where packages have been imported already; here if there is no such process."""
    assert job.membership is not None
    status = hosted.run_again(job.membership, imports(job.script, job.uses))
    if status is not None:
        raise SystemExit(status)
    _run(job, None, may_compute=True)


def _run(job: Job, main: Callable[..., None] | None, *, may_compute: bool) -> bool:
    """Restore a job's outputs, or compute them; whether that has been done."""
    found = origins.of_job(job)
    if fingerprint(job.script, job.uses) != job.code or origins.have_changed(found, job):
        raise RuntimeError(
            "code or data were edited after the workflow had started, so this job would not be "
            "what it is recorded as; start snakemake again"
        )
    if not job.outputs:  # it is there for what it says, which is not kept
        job.call(main or main_of(job), {}, Path(os.devnull))
        return True
    key = _key(job, found)
    with store.exclusive(key) as writable:
        files = drafts.of(job)
        if drafts.restore(key, files):
            logger.info("restored from the store, key %s", key.digest)
        elif not may_compute:
            return False
        else:
            known = main or main_of(job)
            if origins.of_job(job) != found:  # what PyTorch says of the device is the truth
                return _run(job, known, may_compute=True)
            logger.info("computing, because %s (key %s)", computing.reason(key), key.digest)
            computing.compute(known, job, files, key, writable=writable)
        drafts.publish(files, job)
    return True


def _sentence(error: Exception) -> str:
    """Say what went wrong, and what to do where the error does not know it."""
    reason = str(error) or type(error).__name__
    return reason + presence.remedy(error) if isinstance(error, OSError) else reason


def main_of(job: Job) -> Callable[..., None]:
    """Import the stage's script, and keep PyTorch to the job's share of the machine."""
    spec = importlib.util.spec_from_file_location(job.script.stem, job.script)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(max(1, job.threads // job.processes))
    main: Callable[..., None] = script.main
    return main


def _key(job: Job, found: origins.Origins) -> keys.Key:
    # Files of which there are several are told apart by their names: `{epoch}.csv`.
    inputs = {
        name: [f"{Path(path).name} {keys.file_digest(path)}" for path in value]
        if isinstance(value, list)
        else keys.file_digest(value)
        for name, value in job.inputs.items()
    }
    return keys.make(
        job.script.stem,
        module_digests(job.script, job.uses),
        job.settings,
        inputs,
        outputs={name: path.suffix for name, path in job.files().items()},
        **found._asdict(),
    )
