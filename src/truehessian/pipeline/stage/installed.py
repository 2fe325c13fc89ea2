"""Which modules come from the standard library or an installed distribution, and from which."""

import hashlib
import re
import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

_FOLDERS = frozenset({"site-packages", "dist-packages"})
# How a package was built for a processor, which is no other version of it.
_BUILD = re.compile(r"\+(cpu|cu\d+|rocm[\d.]+|xpu)$")


def is_standard(origin: str) -> bool:
    """Whether a module's origin is the interpreter itself or the standard library."""
    if origin in ("built-in", "frozen"):
        return True
    path = Path(origin).absolute()
    return not is_installed(path) and any(path.is_relative_to(base) for base in _standard())


def is_installed(path: Path) -> bool:
    """Whether a path lies where distributions are installed."""
    return not _FOLDERS.isdisjoint(path.absolute().parts)


def distributions(module: str, origin: str) -> dict[str, str]:
    """Find the distributions that a module comes from.

    Parameters
    ----------
    module
        Dotted name of the module.
    origin
        Path of its file.

    Returns
    -------
    dict
        Versions by name; empty for a module that no distribution has put where it is, such as one
        of an editable installation.
    """
    if not is_installed(Path(origin)):
        return {}
    found = [metadata.distribution(name) for name in _claimed().get(module.split(".")[0], ())]
    if len(found) > 1:  # of a namespace, take those that hold the file
        path = Path(origin)
        holding = [
            item
            for item in found
            if any(Path(str(item.locate_file(file))) == path for file in item.files or ())
        ]
        found = holding or found
    return {item.name: version(item) for item in found}


def version_of(module: str) -> str | None:
    """Version of the distribution that an importable name comes from; None if there is none.

    However it was built or installed. Where both have one name, as most do, no other is looked at.
    """
    try:
        numbers = [metadata.version(module)]
    except metadata.PackageNotFoundError:
        numbers = [metadata.version(name) for name in _claimed().get(module, ())]
    return ", ".join(number.partition("+")[0] for number in numbers) or None


def version(distribution: metadata.Distribution) -> str:
    """Version of a distribution, with a digest of its files where the number says too little.

    That is so for what was installed from a folder, a repository or a file: there may have been
    many states of one version.
    """
    number = _BUILD.sub("", distribution.version)
    if distribution.read_text("direct_url.json") is None:
        return number
    files = sorted(
        f"{file} {file.hash.value}" for file in distribution.files or () if file.hash is not None
    )
    code = "\n".join(line for line in files if ".dist-info/" not in line)
    return f"{number} of files {hashlib.sha256(code.encode()).hexdigest()[:16]}"


def folders() -> list[str]:
    """Names of all installed distributions with their versions, and when each was installed."""
    return sorted(
        f"{folder.name} {folder.stat().st_mtime_ns}"
        for entry in dict.fromkeys(sys.path)
        if is_installed(Path(entry))
        for folder in Path(entry).glob("*.dist-info")
    )


@cache
def _claimed() -> dict[str, list[str]]:
    """Names of the distributions by the modules that they bring, each distribution once."""
    return {
        module: sorted(set(names)) for module, names in metadata.packages_distributions().items()
    }


@cache
def _standard() -> list[Path]:
    return [Path(sysconfig.get_path(name)).absolute() for name in ("stdlib", "platstdlib")]
