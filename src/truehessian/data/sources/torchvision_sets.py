"""The official image sets that torchvision reads and downloads."""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truehessian.data.catalogue import DatasetInfo, Labelled, Origin, digest_of_files


class OfTorchvision:
    """A data set of torchvision's, in its layout under the folder `root`.

    Whatever is read of CIFAR or downloaded has the official checksum.

    Parameters
    ----------
    loader
        Name of the class in `torchvision.datasets`.
    about
        What is known of it beforehand.
    checked
        Whether torchvision compares the files that it reads with the official digests.
    """

    def __init__(self, loader: str, about: DatasetInfo, *, checked: bool) -> None:
        self.loader = loader
        self.about = about
        self.checked = checked

    def info(self) -> DatasetInfo:
        """Say what the data are."""
        return self.about

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Digest the files that would be read, but for official ones, there or to be downloaded."""
        files = {} if self.checked else self._unofficial(Path(settings.get("root", "data")))
        return Origin(digest_of_files(files), {})

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, Labelled]:
        """Read both official splits, uint8 (N, C, H, W) each.

        Raises
        ------
        FileNotFoundError
            The data are missing or damaged and cannot be downloaded.
        """
        root = Path(settings["root"])
        try:
            train, test = self._read_or_download(root, download=settings["download"])
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            raise FileNotFoundError(self._missing(settings["name"], root, error)) from error
        return _labelled(train), _labelled(test)

    def _kind(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self.loader)

    def _read_or_download(self, root: Path, *, download: bool) -> tuple[Any, Any]:
        loader = self._kind()
        try:
            return loader(root, train=True), loader(root, train=False)
        except RuntimeError:  # torchvision's word for missing or damaged
            if not download:
                raise
            loader(root, train=True, download=True)
            return loader(root, train=True), loader(root, train=False)

    def _missing(self, name: str, root: Path, error: Exception) -> str:
        loader = self._kind()
        folder = root / getattr(loader, "base_folder", f"{self.loader}/raw")
        urls = (
            [loader.url]
            if hasattr(loader, "url")
            else [loader.mirrors[-1] + file for file, _ in loader.resources]
        )
        damaged = folder.is_dir() and any(folder.iterdir())
        problem = f"in {folder} is damaged (delete it)" if damaged else f"is not in {folder}"
        reason = " ".join(str(error).split())
        return (
            f"data set {name} {problem} and was not downloaded ({reason}); "
            f"unpack {', '.join(urls)} into {folder}, or run once with a network"
        )

    def _unofficial(self, root: Path) -> dict[str, Path]:
        """Find the files that torchvision reads whatever is in them, unless they are official."""
        folder = root / self.loader
        # Of a torchvision before 0.4; where both are there, they are read.
        old = {name: folder / "processed" / name for name in ("training.pt", "test.pt")}
        if all(path.is_file() for path in old.values()):
            return old
        raw = folder / "raw"
        if not raw.is_dir():
            return {}
        archives = dict(self._kind().resources)
        files = {Path(name).stem: raw / Path(name).stem for name in archives}
        if not all(path.is_file() for path in files.values()):  # all will be downloaded
            return {}
        return {
            Path(name).stem: files[Path(name).stem]
            for name, md5 in archives.items()
            if not _is_of_archive(files[Path(name).stem], raw / name, md5)
        }


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


def _labelled(found: Any) -> Labelled:
    import torch

    images = torch.as_tensor(found.data)  # CIFAR (N, H, W, C), MNIST (N, H, W)
    images = images.permute(0, 3, 1, 2) if images.ndim == 4 else images[:, None]
    return images.contiguous(), torch.as_tensor(found.targets, dtype=torch.int64)


_COLOUR, _GREY = (3, 32, 32), (1, 28, 28)
CIFAR10 = OfTorchvision(
    "CIFAR10",
    DatasetInfo(
        10, _COLOUR, 50000, 10000, 4, True, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    ),
    checked=True,
)
CIFAR100 = OfTorchvision(
    "CIFAR100",
    DatasetInfo(
        100, _COLOUR, 50000, 10000, 4, True, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    ),
    checked=True,
)
MNIST = OfTorchvision(
    "MNIST", DatasetInfo(10, _GREY, 60000, 10000, 2, False, (0.1307,), (0.3081,)), checked=False
)
FASHION_MNIST = OfTorchvision(
    "FashionMNIST",
    DatasetInfo(10, _GREY, 60000, 10000, 2, True, (0.2860,), (0.3530,)),
    checked=False,
)
