"""What decides a job's results beside the project's code, its settings and its input files."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from truehessian.data import files
from truehessian.pipeline.stage import own_code
from truehessian.pipeline.stage.fingerprint import reaches
from truehessian.pipeline.stage.job import Job


class Origins(NamedTuple):
    """Code and data of the user's own, and what is installed.

    Attributes
    ----------
    network
        Digest of each module of the user's own that makes the network.
    data
        Digest of each file that the data set is read from.
    packages
        Versions of distributions that network or data come from.
    environment
        Version of PyTorch and class of the device, where the stage uses them.
    """

    network: dict[str, str]
    data: dict[str, str]
    packages: dict[str, str]
    environment: dict[str, str]


def of_job(job: Job) -> Origins:
    """Find the origins of a job as they are at this moment.

    Raises
    ------
    ImportError
        A module of the network cannot be found, or is hidden by another.
    OSError
        A file of the data cannot be read.
    """
    network, data = own_code.Code({}, {}), files.Sources({}, {})
    name = (job.settings.get("network") or {}).get("name")
    if job.code_network is not None and name is not None:
        network = own_code.of_factory(name)
    if job.data_sources is not None:
        data = files.sources(job.settings["settings"])
    packages = network.packages | data.packages
    return Origins(network.modules, data.files, packages, _environment(job))


def have_changed(origins: Origins, job: Job) -> bool:
    """Whether modules or files differ from those that the workflow was read with.

    Packages may: those of a job can lie in an environment of its own.
    """
    network, data = job.code_network, job.data_sources
    code = own_code.Code(origins.network, {}).summary()["modules"]
    return bool(
        (network is not None and code != network["modules"])
        or (data is not None and origins.data != data["files"])
    )


def of_data(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Say what a data set is read from, in values that Snakemake can compare."""
    return files.sources(settings)._asdict()


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
