"""What decides a job's results beside the project's code, its settings and its input files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from truehessian.pipeline.stage import environment, fingerprint, memory, modules, own_code
from truehessian.pipeline.stage.job import Job


class Origins(NamedTuple):
    """Code and data of the user's own, and what is installed.

    Attributes
    ----------
    own_code
        Digest of each module of the user's own that the job uses.
    data
        Digest of each file that the data set is read from.
    packages
        Versions of distributions that the code of the user's own or the data come from.
    environment
        Versions of the packages that the stage uses, and the class of its device; see
        `environment`.
    """

    own_code: dict[str, str]
    data: dict[str, str]
    packages: dict[str, str]
    environment: dict[str, str]


def of_job(job: Job) -> Origins:
    """Find the origins of a job as they are at this moment.

    Raises
    ------
    ImportError
        A module of the user's own cannot be found, or is hidden by another.
    OSError
        A file of the data cannot be read.
    """
    own = own_code.of_paths(path for path in job.uses if not modules.is_ours(path))
    data: dict[str, dict[str, str]] = {"files": {}, "packages": {}}
    if job.data_sources is not None:
        data = of_data(job.settings["settings"])
    packages = own.packages | data["packages"]
    return Origins(own.modules, data["files"], packages, environment.of_job(job))


def have_changed(origins: Origins, job: Job) -> bool:
    """Whether modules or files differ from those that the workflow was read with.

    Packages may: those of a job can lie in an environment of its own.
    """
    own, data = job.own_code, job.data_sources
    code = own_code.Code(origins.own_code, {}).summary()["modules"]
    return bool(
        (own is not None and code != own["modules"])
        or (data is not None and origins.data != data["files"])
    )


def of_data(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Say what a data set is read from, in values that Snakemake can compare."""
    from truehessian.data import catalogue  # with NumPy, which other stages can do without

    return catalogue.origin(settings)._asdict()


def of_data_as_remembered(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Give `of_data`, for which files are read once only while they stay as they are.

    That is so for our own sources of what lies under an argument `path`.
    """
    from truehessian.data.sources import SOURCES  # which jobs can do without

    name, path = settings["name"], settings["arguments"].get("path")
    if name not in SOURCES or not isinstance(path, str):
        return of_data(settings)
    module = SOURCES[name].partition(":")[0]
    file = modules.file_of(module, modules.source())
    assert file is not None
    decided_by = {
        "origin of": [name, settings["arguments"]],
        "code": fingerprint.module_digests(file),
        "files": memory.state_of(Path(path)),
    }
    found: dict[str, dict[str, str]] = memory.remembered(decided_by, lambda: of_data(settings))
    return found
