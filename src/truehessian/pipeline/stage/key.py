"""The content key of a stage: everything that decides its results, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

EMPTY: Mapping[str, str] = MappingProxyType({})
# Of the way in which keys are made. Results that were stored under another one are never used.
FORM = 3
# A key of a config section by one of these names says how a result is come by, not what it is. The
# device counts by its class, in the environment. Arguments of a network all count.
_WITHOUT_EFFECT = frozenset({"root", "download", "memory_gb", "basis_gb", "device", "processes"})


class Key(NamedTuple):
    """A digest, and the parts that it was made of."""

    digest: str
    parts: dict[str, Any]


def make(
    name: str,
    modules: dict[str, str],
    settings: dict[str, Any],
    inputs: dict[str, Any],
    environment: dict[str, str],
    *,
    outputs: Mapping[str, str] = EMPTY,
    own_code: Mapping[str, str] = EMPTY,
    data: Mapping[str, str] = EMPTY,
    packages: Mapping[str, str] = EMPTY,
) -> Key:
    """Combine the parts of a stage's key.

    Parameters
    ----------
    name
        Name of the stage's script.
    modules
        Digest of the meaning of each module that the script reaches.
    settings
        Parameters of the job; paths, progress and thread counts have no part in a key.
    inputs
        Digests of the input files by name; where a name has several, a list of file names with
        digests.
    environment
        What else decides the numbers: versions of packages, device class.
    outputs
        Suffixes of the output files by name: what is to be written, and in which format.
    own_code, data
        Digests of the modules of a user's own, and of the files that data are read from.
    packages
        Versions of what is installed and has a part in either.
    """
    parts: dict[str, Any] = {
        "form": FORM,
        "stage": name,
        "code": modules,
        "settings": normalised({**settings, **_effective(settings.get("settings"))}),
        "inputs": inputs,
        "outputs": dict(outputs),
        "environment": environment,
    }
    more = {"own_code": own_code, "data": data, "packages": packages}
    parts |= {section: dict(values) for section, values in more.items() if values}
    return Key(digest(parts), parts)


def digest(parts: dict[str, Any]) -> str:
    """Digest of a key's parts, which is the name of an entry in the store."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def normalised(value: Any) -> Any:
    """Bring settings into one form: sorted keys, lists for tuples, whole floats as integers."""
    if isinstance(value, dict):
        return {str(key): normalised(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _effective(section: dict[str, Any] | None) -> dict[str, Any]:
    if section is None:
        return {}
    kept = {name: value for name, value in section.items() if name not in _WITHOUT_EFFECT}
    return {"settings": kept}


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
