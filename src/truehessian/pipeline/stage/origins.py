"""What decides a job's results beside the project's code, its settings and its input files."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from truehessian.data import catalogue
from truehessian.pipeline.stage import modules, own_code
from truehessian.pipeline.stage.fingerprint import reaches
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
        Version of PyTorch and class of the device, where the stage uses them.
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
    data = catalogue.Origin({}, {})
    own = own_code.of_paths(path for path in job.uses if not modules.is_ours(path))
    if job.data_sources is not None:
        data = catalogue.origin(job.settings["settings"])
    packages = own.packages | data.packages
    return Origins(own.modules, data.files, packages, _environment(job))


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
    return catalogue.origin(settings)._asdict()


def _environment(job: Job) -> dict[str, str]:
    """Find what else decides a stage's numbers: PyTorch, and the device where it has one.

    A stage has a device if its settings name one: there is no other way to choose it. What uses
    none has the same key on a laptop and on a cluster.
    """
    if not reaches(job.script, "torch", job.uses):
        return {}
    import torch

    environment = {"torch": torch.__version__.partition("+")[0]}
    wanted = (job.settings.get("settings") or {}).get("device")
    if wanted is not None:
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        environment["device"] = automatic if wanted == "auto" else wanted.partition(":")[0]
    return environment
