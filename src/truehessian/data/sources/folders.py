"""Images in folders, one folder for each class."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truehessian.data.catalogue import DatasetInfo, Labelled, Origin

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})


class Folders:
    """Images `CLASS/NAME.png` in a folder, or in its folders `train` and `test` (or `val`).

    They become RGB of one size: the shorter side is scaled, and the middle is cut out.
    """

    def info(self, path: str, size: int = 32, padding: int = 4, flip: bool = True) -> DatasetInfo:
        """Count classes and files.

        Parameters
        ----------
        path
            The folder.
        size
            Pixels of height and width that the images get.
        padding, flip
            Which augmentation suits them: pixels on each side, and whether to mirror.

        Raises
        ------
        ValueError
            There are no images, or the classes of training and test differ.
        """
        splits = _splits(path)
        counts = [sum(len(files) for files in split.values()) for split in splits]
        return DatasetInfo(
            num_classes=len(splits[0]),
            input_shape=(3, size, size),
            num_train=counts[0],
            num_test=counts[1] if len(counts) == 2 else None,
            padding=padding,
            flip=flip,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            class_names=tuple(splits[0]),
        )

    def takes(self, path: Path) -> bool:
        """Tell whether it is a folder."""
        return path.is_dir()

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Digest all images, with their names, into one."""
        path = Path(settings["arguments"]["path"])
        digest = hashlib.sha256()
        for split in _splits(str(path)):
            for files in split.values():
                for file in files:
                    content = hashlib.sha256(file.read_bytes()).hexdigest()
                    digest.update(f"{file.relative_to(path).as_posix()} {content}\n".encode())
        return Origin({"images": digest.hexdigest()}, {})

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, Labelled | None]:
        """Read all images, uint8 (N, 3, size, size), in the order of classes and names."""
        arguments = settings["arguments"]
        sets = [_read(split, arguments.get("size", 32)) for split in _splits(arguments["path"])]
        return sets[0], (sets[1] if len(sets) == 2 else None)


def _splits(path: str) -> list[dict[str, list[Path]]]:
    """Find the files of each class, for one set or for training and test."""
    root = Path(path)
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    two = test is not None and (root / "train").is_dir()
    splits = [_classes(folder) for folder in ([root / "train", test] if two else [root]) if folder]
    if two and splits[0].keys() != splits[1].keys():
        differing = sorted(splits[0].keys() ^ splits[1].keys())
        raise ValueError(f"{path}: training and test must have the same classes, not {differing}")
    return splits


def _classes(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder; it must hold a folder of images for each class"
        )
    found = {
        each.name: sorted(file for file in each.rglob("*") if file.suffix.lower() in _SUFFIXES)
        for each in sorted(folder.iterdir())
        if each.is_dir() and not each.name.startswith(".")
    }
    found = {name: files for name, files in found.items() if files}
    if len(found) < 2:
        raise ValueError(
            f"{folder} must hold a folder with images for each of at least two classes, and has "
            f"{len(found)}"
        )
    return found


def _read(classes: Mapping[str, list[Path]], size: int) -> Labelled:
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.v2 import functional as transforms

    images, labels = [], []
    for label, files in enumerate(classes.values()):
        for file in files:
            image = decode_image(str(file), mode=ImageReadMode.RGB)
            image = transforms.resize(image, [size], antialias=True)
            images.append(transforms.center_crop(image, [size, size]))
            labels.append(label)
    return torch.stack(images), torch.tensor(labels, dtype=torch.int64)


FOLDERS = Folders()
