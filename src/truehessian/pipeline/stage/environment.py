"""What decides a stage's numbers beside code, settings and inputs: packages, and the device.

It is found without importing any of them: what is restored needs neither PyTorch nor pandas.
"""

import ctypes
import runpy
import sys
from importlib import util
from pathlib import Path
from typing import Any

from truehessian.pipeline.stage import installed
from truehessian.pipeline.stage.fingerprint import imports
from truehessian.pipeline.stage.job import Job


def of_job(job: Job) -> dict[str, str]:
    """Find the versions of packages, and the class of the device where the stage has one.

    A stage that uses PyTorch counts by the version of that alone: to compute it again may take
    days. Others take seconds, and count by all packages that they import. A stage has a device if
    its settings name one: there is no other way to choose it. What uses none has the same key on a
    laptop and on a cluster.
    """
    names = {name.partition(".")[0] for name in imports(job.script, job.uses)}
    if "torch" not in names:
        found = {name: installed.version_of(name) for name in sorted(names)}
        return {name: version for name, version in found.items() if version is not None}
    environment = {"torch": installed.version_of("torch") or ""}
    wanted = (job.settings.get("settings") or {}).get("device")
    if wanted is not None:
        environment["device"] = _automatic() if wanted == "auto" else wanted.partition(":")[0]
    return environment


def _automatic() -> str:
    """Class of the device that `auto` means, on this machine and at this moment."""
    available = None if "torch" in sys.modules else _cuda_is_available()
    if available is None:
        import torch

        available = torch.cuda.is_available()
    return "cuda" if available else "cpu"


def _cuda_is_available() -> bool | None:
    """Whether PyTorch would find a GPU, by asking the driver as it does; None if only it knows."""
    built = _builds()
    if sys.platform != "linux" or built.get("hip") is not None:
        return None
    if built.get("cuda") is None:
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return False
    driver.cuDriverGetVersion(ctypes.byref(version))
    new_enough = version.value // 1000 >= int(built["cuda"].partition(".")[0])
    return True if new_enough else None


def _builds() -> dict[str, Any]:
    """Read what PyTorch was built for, which a small file of it says."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))
