"""Data in a file of arrays: `.npz` or `.safetensors`.

The arrays are `inputs` and `labels`, one set that is split, or `train_inputs`, `train_labels`,
`test_inputs` and `test_labels`.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from truehessian.data.catalogue import DatasetInfo, Labelled, Origin, digest_of_files

_ONE = ("inputs", "labels")
_TWO = ("train_inputs", "train_labels", "test_inputs", "test_labels")


class Tensors:
    """Arrays of examples (N, ...) and of labels (N,), whole numbers from 0 on.

    Inputs of uint8 and four axes are images (N, C, H, W), whose pixels are divided by 255 and then
    normalised by `dataset.mean` and `dataset.std`; all others are taken as they are.
    """

    def info(self, path: str, padding: int = 0, flip: bool = False) -> DatasetInfo:
        """Read shapes and labels, not the inputs.

        Parameters
        ----------
        path
            The file.
        padding, flip
            Which augmentation suits images: pixels on each side, and whether to mirror.

        Raises
        ------
        ValueError
            The file has other arrays, or they do not belong together.
        """
        shapes = _shapes(Path(path))
        names = _names(path, shapes)
        labels = [_label_array(path, name) for name in names if name.endswith("labels")]
        inputs = [shapes[name] for name in names if name.endswith("inputs")]
        for name, (shape, _), own in zip(names[::2], inputs, labels, strict=True):
            if len(shape) < 2 or shape[0] != len(own) or shape[1:] != inputs[0][0][1:]:
                raise ValueError(
                    f"{path}: {name} has shape {shape} and there are {len(own)} labels of it; "
                    "inputs must have shape (N, ...), the same for training and test, and labels "
                    "(N,)"
                )
        shape, kind = inputs[0]
        channels = shape[1] if kind == np.uint8 and len(shape) == 4 else 0
        return DatasetInfo(
            num_classes=int(max(own.max() for own in labels)) + 1,
            input_shape=shape[1:],
            num_train=len(labels[0]),
            num_test=len(labels[1]) if len(labels) == 2 else None,
            padding=padding,
            flip=flip,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        )

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Digest the file."""
        return Origin(digest_of_files({"tensors": Path(settings["arguments"]["path"])}), {})

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, Labelled | None]:
        """Read all arrays."""
        import torch

        path = settings["arguments"]["path"]
        names = _names(path, _shapes(Path(path)))
        tensors = [torch.from_numpy(_array(path, name)) for name in names]
        tensors = [t.long() if t.ndim == 1 else t for t in tensors]
        train = (tensors[0], tensors[1])
        return train, ((tensors[2], tensors[3]) if len(tensors) == 4 else None)


def _names(path: str, shapes: Mapping[str, Any]) -> tuple[str, ...]:
    for names in (_TWO, _ONE):
        if set(names) <= set(shapes):
            return names
    raise ValueError(
        f"{path} must hold {' and '.join(_ONE)}, or {', '.join(_TWO)}; it holds "
        f"{', '.join(sorted(shapes)) or 'nothing'}"
    )


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of each array, by its name, without reading any."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            kinds = {"U8": np.uint8}
            return {n: (tuple(s.get_shape()), kinds.get(s.get_dtype())) for n, s in slices.items()}
    if path.suffix != ".npz":
        raise ValueError(f"{path} must be a .npz or .safetensors file")
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = {1: np.lib.format.read_array_header_1_0}.get(
                    version[0], np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            found[member.removesuffix(".npy")] = (tuple(shape), dtype.type)
    return found


def _array(path: str, name: str) -> NDArray:
    if path.endswith(".safetensors"):
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            array: NDArray = file.get_tensor(name)
            return array
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file[name])


def _label_array(path: str, name: str) -> NDArray:
    labels = _array(path, name)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise ValueError(
            f"{path}: {name} must be whole numbers from 0 on, shape (N,), got {labels.dtype} of "
            f"shape {labels.shape}"
        )
    return labels


TENSORS = Tensors()
