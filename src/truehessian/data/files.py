"""What a data set is read from: files and packages that the settings name but do not contain.

To know it takes none of the data's own code, so that the stage which prepares them can be told
from its files before it runs.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple


class Sources(NamedTuple):
    """What decides the data beside the settings.

    Attributes
    ----------
    files
        SHA-256 of each file that would be read, by a name that stays when the folder is moved.
        Empty for official files, whether they are there or will be downloaded.
    packages
        Version of each distribution that the data come with, by its name.
    """

    files: dict[str, str]
    packages: dict[str, str]


def sources(settings: Mapping[str, Any]) -> Sources:
    """Find what a data set would be read from.

    Parameters
    ----------
    settings
        The section `dataset` of a run: keyword arguments of `datasets.fetch`.

    Raises
    ------
    ValueError
        It is not known what a data set of this name is read from.
    OSError
        A file is there and cannot be read.
    """
    name = settings["name"]
    if name not in SOURCES:
        raise ValueError(
            f"it is not known what the data set {name!r} is read from; add it to {__name__}"
        )
    return SOURCES[name](settings)


def digest_of_files(files: Mapping[str, Path]) -> dict[str, str]:
    """Digest each file by its name."""
    digests = {}
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _from_scikit_learn(_: Mapping[str, Any]) -> Sources:
    return Sources({}, {"scikit-learn": metadata.version("scikit-learn")})


def _official(_: Mapping[str, Any]) -> Sources:
    """Find nothing: torchvision compares the files of CIFAR with the official digests."""
    return Sources({}, {})


def _from_idx_files(class_name: str) -> Callable[[Mapping[str, Any]], Sources]:
    """Digest the files of a data set that torchvision reads whatever is in them."""

    def found(settings: Mapping[str, Any]) -> Sources:
        folder = Path(settings.get("root", "data")) / class_name
        # Of a torchvision before 0.4; where both are there, they are read.
        old = {name: folder / "processed" / name for name in ("training.pt", "test.pt")}
        if all(path.is_file() for path in old.values()):
            return Sources(digest_of_files(old), {})
        raw = folder / "raw"
        if not raw.is_dir():
            return Sources({}, {})
        from torchvision import datasets

        archives = dict(getattr(datasets, class_name).resources)
        files = {Path(name).stem: raw / Path(name).stem for name in archives}
        if not all(path.is_file() for path in files.values()):  # all will be downloaded
            return Sources({}, {})
        changed = {
            Path(name).stem: files[Path(name).stem]
            for name, md5 in archives.items()
            if not _is_of_archive(files[Path(name).stem], raw / name, md5)
        }
        return Sources(digest_of_files(changed), {})

    return found


def _is_of_archive(path: Path, archive: Path, md5: str) -> bool:
    """Whether a file is what an official archive beside it holds, by the checksum in that.

    torchvision keeps the archives that it downloads. So data have the same key before they are
    downloaded and after.
    """
    if not archive.is_file():
        return False
    packed = archive.read_bytes()
    if hashlib.md5(packed, usedforsecurity=False).hexdigest() != md5:
        return False
    content = path.read_bytes()
    trailer = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return packed.endswith(trailer)


SOURCES: dict[str, Callable[[Mapping[str, Any]], Sources]] = {
    "digits": _from_scikit_learn,
    "cifar10": _official,
    "cifar100": _official,
    "mnist": _from_idx_files("MNIST"),
    "fashion_mnist": _from_idx_files("FashionMNIST"),
}
