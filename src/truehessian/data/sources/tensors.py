"""Data in a file of arrays: `.npz` or `.safetensors`.

The arrays are `inputs` and `targets` (or `labels`), one set that is split, or `train_inputs`,
`train_targets`, `test_inputs` and `test_targets`. Parts of inputs that are several arrays have
names with dots: `inputs.input_ids` and `inputs.attention_mask`, or `inputs.0` and `inputs.1`.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from truehessian import text
from truehessian.data.about import DatasetInfo, Labelled, Origin, digest_of_files
from truehessian.data.sources.describing import TARGETS, Leaf, Split, describe, nested

SUFFIXES = (".npz", ".safetensors")
_SAFETENSORS = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64",
}  # fmt: skip


class Tensors:
    """Arrays of examples (N, ...), whole or real numbers.

    Inputs of uint8 and four axes are images (N, C, H, W), whose pixels are divided by 255 and then
    normalised by `dataset.mean` and `dataset.std`; all others are taken as they are. Targets are
    whole numbers, classes (N,) or tokens (N, T), or real numbers to predict, (N,) or (N, k).
    """

    def info(
        self, path: str, padding: int = 0, flip: bool = False, num_classes: int | None = None
    ) -> DatasetInfo:
        """Read shapes and whole targets, not the inputs.

        Parameters
        ----------
        path
            The file.
        padding, flip
            Which augmentation suits images: pixels on each side, and whether to mirror.
        num_classes
            Number of outputs where it is not what the targets say: the largest of whole numbers
            and one; 1 for real numbers (N,), k for (N, k).

        Raises
        ------
        ValueError
            The file has other arrays, or they do not belong together.
        """
        splits = _splits(path)
        return describe(path, splits, num_classes=num_classes, padding=padding, flip=flip)

    def takes(self, path: Path) -> bool:
        """Tell whether it is a file with one of the suffixes."""
        return path.is_file() and path.suffix in SUFFIXES

    def origin(self, settings: Mapping[str, Any]) -> Origin:
        """Digest the file."""
        return Origin(digest_of_files({"tensors": Path(settings["arguments"]["path"])}), {})

    def read(self, settings: Mapping[str, Any]) -> tuple[Labelled, Labelled | None]:
        """Read all arrays; whole numbers become int64, but for those of images."""
        from truehessian.data.sources import keeping

        path = settings["arguments"]["path"]
        read = [
            (keeping.inputs(_read(path, inputs)), keeping.targets(_read(path, targets)))
            for _, inputs, targets in _parts(path, _leaves(Path(path)))
        ]
        return read[0], (read[1] if len(read) == 2 else None)


def _splits(path: str) -> list[Split]:
    leaves = _leaves(Path(path))
    found = []
    for split, *both in _parts(path, leaves):
        flat = [{part: leaves[name] for part, name in names.items()} for names in both]
        found.append(Split(split, *(_tree(path, each) for each in flat)))
    return found


def _tree(path: str, flat: Mapping[str, Any]) -> Any:
    try:
        return nested(flat)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give one of them another name") from None


def _parts(
    path: str, leaves: Mapping[str, Leaf]
) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Find the splits, and the names of arrays by those that their parts have in the trees."""
    for splits in (("train_", "test_"), ("",)):
        found = []
        for split in splits:
            inputs = _of_kind(leaves, f"{split}inputs")
            words = [w for w in TARGETS if _of_kind(leaves, f"{split}{w}")]
            if len(words) > 1:
                raise ValueError(f"{path} must hold either {' or '.join(words)}, and holds both")
            if inputs and words:
                found.append((split, inputs, _of_kind(leaves, f"{split}{words[0]}")))
        if len(found) == len(splits):
            return found
    raise ValueError(
        f"{path} must hold inputs and targets (or labels), or train_inputs, train_targets, "
        f"test_inputs and test_targets; it holds {', '.join(sorted(leaves)) or 'nothing'}"
    )


def _of_kind(leaves: Mapping[str, Leaf], kind: str) -> dict[str, str]:
    """Find the arrays of this name, or with this name before a dot."""
    return {
        name[len(kind) + 1 :]: name
        for name in leaves
        if name == kind or name.startswith(f"{kind}.")
    }


def _leaves(path: Path) -> dict[str, Leaf]:
    """Find shape and type of each array, by its name, without reading any."""
    headers = {".safetensors": _of_safetensors, ".npz": _of_archive}
    if path.suffix not in headers:
        raise ValueError(f"{path} must be a .npz or .safetensors file")
    try:
        found = dict(headers[path.suffix](path))
    except OSError:
        raise
    except Exception as error:  # damage shows in many ways
        raise ValueError(
            f"{path} is damaged or no {path.suffix} file ({text.exception(error)}); write it again"
        ) from error
    return {name: _leaf(str(path), name, *header) for name, header in found.items()}


def _leaf(path: str, name: str, shape: tuple[int, ...], dtype: str) -> Leaf:
    return Leaf(tuple(shape), dtype, lambda: _bounds(_array(path, name)))


def _of_safetensors(path: Path) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            array = file.get_slice(name)
            dtype = array.get_dtype()
            yield name, (tuple(array.get_shape()), _SAFETENSORS.get(dtype, dtype))


def _of_archive(path: Path) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = {1: np.lib.format.read_array_header_1_0}.get(
                    version[0], np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            yield member.removesuffix(".npy"), (tuple(shape), dtype.name)


def _array(path: str, name: str) -> NDArray:
    if path.endswith(".safetensors"):
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            array: NDArray = file.get_tensor(name)
            return array
    with np.load(path, allow_pickle=False) as file:
        found = np.asarray(file[name])
        return found.astype(found.dtype.newbyteorder("="), copy=False)


def _bounds(array: NDArray) -> tuple[int, int]:
    return int(array.min()), int(array.max())


def _read(path: str, names: Mapping[str, str]) -> Any:
    """Read a tree of tensors, whose parts have these names in the file."""
    import torch

    if not path.endswith(".safetensors"):
        return nested({part: torch.from_numpy(_array(path, name)) for part, name in names.items()})
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return nested({part: file.get_tensor(name) for part, name in names.items()})


TENSORS = Tensors()
